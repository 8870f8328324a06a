// Command network-policies enforces the NetworkPolicies of the pods on one node. The policy engine is that of
// kube-network-policies. The rules in the kernel are our own, because those of kube-network-policies need two kernel
// options (NFT_QUEUE, NETFILTER_NETLINK_GLUE_CT) that minimal kernels leave out. These rules need xt_NFQUEUE only.
//
// The kernel queues a packet if its source or its destination is a pod that a policy selects, and if its connection has
// not been accepted yet. This program accepts or drops the packet. If it accepts, the kernel stores the current revision
// of the policies in the connection's mark, and accepts further packets of the connection by itself. Each change of the
// policies or of the pods that they select increases the revision, so that connections are evaluated again.
//
// While this program does not run, the kernel drops the packets that it would queue.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/time/rate"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
	"sigs.k8s.io/kube-network-policies/pkg/runner"
)

const (
	table = "network-policies"
	queue = 100

	// The upper half of a mark holds a revision. kube-proxy and the CNI plugins use bits of the lower half of a packet's
	// mark, and no connection's mark.
	revisionShift = 16
	revisionMask  = 0xffff << revisionShift
	otherMask     = 0xffff
)

var (
	// Not at the hook FORWARD, because the kernel may only choose the route after the verdict: since Linux 5.8, it gives
	// a queued packet another destination if two packets open the same connection (two DNS requests from one socket).
	evaluatePriority = nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 5)
	rememberPriority = nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 6)
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	node := flag.String("node", "", "name of the node")
	nodeAddress := flag.String("node-address", "", "address of the node, with which its pods may always exchange packets")
	health := flag.String("health-address", "127.0.0.1:8163", "address on which /healthz is served")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := connect(*kubeconfig)
	if err != nil {
		log.Fatalf("cannot use the kubeconfig: %v", err)
	}
	e, err := newEnforcer(ctx, client, *node, parse(*nodeAddress))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/healthz", e.serveHealth)
	go func() { log.Fatal(http.ListenAndServe(*health, nil)) }()
	if err := e.run(ctx); err != nil {
		log.Fatal(err)
	}
}

func connect(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(config)
}

// parse returns the zero address for an empty flag.
func parse(address string) netip.Addr {
	if address == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(address)
}

type enforcer struct {
	nodeAddress netip.Addr
	engine      *networkpolicy.PolicyEngine
	pods        api.PodInfoProvider
	rules       *runner.BoundedFrequencyRunner
	revision    atomic.Uint32
	healthy     atomic.Bool
	refusals    *rate.Limiter
}

func newEnforcer(
	ctx context.Context, client kubernetes.Interface, node string, nodeAddress netip.Addr,
) (*enforcer, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	resolver, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return nil, err
	}
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{resolver})
	policies := factory.Networking().V1().NetworkPolicies()
	evaluators := []api.PolicyEvaluator{
		networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies),
	}
	e := &enforcer{
		nodeAddress: nodeAddress,
		engine:      networkpolicy.NewPolicyEngine(provider, evaluators),
		pods:        provider,
		refusals:    rate.NewLimiter(1, 20),
	}
	e.rules = runner.NewBoundedFrequencyRunner(table, e.writeRules, 200*time.Millisecond, time.Second, time.Hour)
	e.engine.SetDataplaneSyncCallbacks(e.rules.Run)
	// Marks of an earlier process must not look current.
	e.revision.Store(rand.Uint32())
	factory.Start(ctx.Done())
	return e, nil
}

// run returns when ctx ends, or with an error when policies cannot be enforced.
func (e *enforcer) run(ctx context.Context) error {
	for !e.engine.Ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
	packets, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      queue,
		MaxPacketLen: 128, // the headers
		MaxQueueLen:  4096,
		Copymode:     nfqueue.NfQnlCopyPacket,
		// Do not split large packets, because only the headers are read.
		Flags:        nfqueue.NfQaCfgFlagGSO,
		WriteTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		return fmt.Errorf("the kernel cannot queue packets: no nfnetlink: %w", err)
	}
	defer packets.Close()
	// The kernel reports packets that it dropped because the queue was full; the senders repeat them.
	onError := func(err error) int { log.Printf("cannot read from the queue: %v", err); return 0 }
	onPacket := func(packet nfqueue.Attribute) int { e.decide(packets, packet); return 0 }
	if err := packets.RegisterWithErrorFunc(ctx, onPacket, onError); err != nil {
		return fmt.Errorf("the kernel cannot queue packets: no nfnetlink_queue: %w", err)
	}
	if err := e.writeRules(); err != nil {
		return fmt.Errorf("the kernel cannot queue packets: no nf_tables, nft_compat or xt_NFQUEUE: %w", err)
	}
	log.Print("policies are enforced")
	e.rules.Loop(ctx.Done())
	return nil
}

func (e *enforcer) serveHealth(response http.ResponseWriter, _ *http.Request) {
	if !e.healthy.Load() {
		http.Error(response, "policies are not enforced yet", http.StatusServiceUnavailable)
	}
}

// decide gives the kernel the verdict on one packet.
func (e *enforcer) decide(packets *nfqueue.Nfqueue, attribute nfqueue.Attribute) {
	// Read before the evaluation: if the policies change meanwhile, the packet's connection is evaluated again.
	mark := e.currentMark()
	packet, err := network.ParsePacket(*attribute.Payload)
	allowed := false
	if err != nil {
		log.Printf("dropped a packet that cannot be parsed: %v", err)
	} else {
		allowed = e.allows(&packet)
	}
	if allowed {
		if attribute.Mark != nil {
			mark |= *attribute.Mark & otherMask
		}
		err = packets.SetVerdictWithOption(*attribute.PacketID, nfqueue.NfAccept, nfqueue.WithMark(mark))
	} else {
		err = packets.SetVerdict(*attribute.PacketID, nfqueue.NfDrop)
	}
	if err != nil {
		log.Printf("cannot set a verdict: %v", err)
	}
}

func (e *enforcer) allows(packet *network.Packet) bool {
	allowed, err := e.engine.EvaluatePacket(context.Background(), packet)
	if err != nil {
		log.Printf("cannot evaluate a packet, so it is dropped: %v", err)
		return false
	}
	if !allowed && e.refusals.Allow() {
		log.Printf("refused %s to %s, %s port %d", e.describe(packet.SrcIP.String()), e.describe(packet.DstIP.String()),
			packet.Proto, packet.DstPort)
	}
	return allowed
}

func (e *enforcer) describe(address string) string {
	if pod, ok := e.pods.GetPodInfoByIP(address); ok {
		return pod.Namespace.Name + "/" + pod.Name
	}
	return address
}

// currentMark is the mark of connections that the current policies allow. It is never 0.
func (e *enforcer) currentMark() uint32 {
	return (e.revision.Load()%0xffff + 1) << revisionShift
}

// writeRules replaces the rules in one transaction. It keeps the chains, because the kernel drops queued packets when a
// chain is deleted.
func (e *enforcer) writeRules() error {
	addresses, _, err := e.engine.GetManagedIPs(context.Background())
	if err != nil {
		return err
	}
	e.revision.Add(1)
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	t := connection.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: table})
	pods := &nftables.Set{Table: t, Name: "pods", KeyType: nftables.TypeIPAddr}
	if err := connection.AddSet(pods, nil); err != nil {
		return err
	}
	connection.FlushSet(pods)
	elements := []nftables.SetElement{}
	for _, address := range addresses {
		if address.Is4() {
			elements = append(elements, nftables.SetElement{Key: address.AsSlice()})
		}
	}
	if err := connection.SetAddElements(pods, elements); err != nil {
		return err
	}
	e.addChain(connection, t, "evaluate", evaluatePriority, e.evaluateRules(pods))
	e.addChain(connection, t, "remember", rememberPriority, rememberRules())
	err = connection.Flush()
	e.healthy.Store(err == nil)
	return err
}

func (e *enforcer) addChain(
	connection *nftables.Conn, t *nftables.Table, name string, priority *nftables.ChainPriority, rules [][]expr.Any,
) {
	chain := connection.AddChain(&nftables.Chain{
		Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: priority,
	})
	connection.FlushChain(chain)
	for _, expressions := range rules {
		connection.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: expressions})
	}
}

// evaluateRules are those of the first chain, in nft's notation at each rule.
func (e *enforcer) evaluateRules(pods *nftables.Set) [][]expr.Any {
	const sourceOffset, destinationOffset = 12, 16
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	equals := func(value []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value} }
	address := func(offset uint32) *expr.Payload {
		return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
	}
	rules := [][]expr.Any{
		// ct direction reply accept
		{&expr.Ct{Register: 1, Key: expr.CtKeyDIRECTION}, equals([]byte{1}), accept},
		// ct state related accept
		{
			&expr.Ct{Register: 1, Key: expr.CtKeySTATE}, and(expr.CtStateBitRELATED),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}, accept,
		},
		// ct mark & 0xffff0000 == <the current mark> accept
		{
			&expr.Ct{Register: 1, Key: expr.CtKeyMARK}, and(revisionMask),
			equals(binaryutil.NativeEndian.PutUint32(e.currentMark())), accept,
		},
	}
	if e.nodeAddress.IsValid() {
		// ip daddr <the node> accept. Packets from the node do not pass this hook.
		rules = append(rules, []expr.Any{address(destinationOffset), equals(e.nodeAddress.AsSlice()), accept})
	}
	for _, offset := range []uint32{sourceOffset, destinationOffset} {
		// ip saddr @pods queue; ip daddr @pods queue
		rules = append(rules, []expr.Any{address(offset), &expr.Lookup{SourceRegister: 1, SetName: pods.Name}, toQueue()})
	}
	return rules
}

// rememberRules store the revision that a verdict has set in the packet's mark.
func rememberRules() [][]expr.Any {
	packetMark := &expr.Meta{Key: expr.MetaKeyMARK, Register: 1}
	return [][]expr.Any{
		// meta mark & 0xffff0000 != 0 ct mark set meta mark & 0xffff0000
		{
			packetMark, and(revisionMask), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Ct{Register: 1, Key: expr.CtKeyMARK, SourceRegister: true},
		},
		// meta mark set meta mark & 0x0000ffff
		{packetMark, and(otherMask), &expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true}},
	}
}

func and(mask uint32) *expr.Bitwise {
	return &expr.Bitwise{
		SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4),
	}
}

// toQueue is the target NFQUEUE of iptables, without its option --queue-bypass.
func toQueue() *expr.Target {
	// struct xt_NFQ_info_v1: the first queue and the number of queues, padded to 8 bytes.
	info := make(xt.Unknown, 8)
	binary.NativeEndian.PutUint16(info[0:], queue)
	binary.NativeEndian.PutUint16(info[2:], 1)
	return &expr.Target{Name: "NFQUEUE", Rev: 1, Info: &info}
}
