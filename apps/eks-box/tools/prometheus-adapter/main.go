// Command prometheus-adapter serves custom metrics from Prometheus with the packages of prometheus-adapter 0.12, but with
// the server library for Kubernetes 1.35. The project's own program is written for Kubernetes 1.30 and does not compile
// with it. This program has only the flags that the box uses, and no resource or external metrics.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/prometheus-adapter/pkg/client"
	"sigs.k8s.io/prometheus-adapter/pkg/config"
	provider "sigs.k8s.io/prometheus-adapter/pkg/custom-provider"
	"sigs.k8s.io/prometheus-adapter/pkg/naming"
)

func main() {
	logs.InitLogs()
	defer logs.FlushLogs()
	if err := run(genericapiserver.SetupSignalContext(), os.Args); err != nil {
		logs.FlushLogs()
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	adapter := &cmd.AdapterBase{Name: "prometheus-adapter"}
	prometheus := adapter.Flags().String("prometheus-url", "", "URL of Prometheus")
	rules := adapter.Flags().String("config", "", "file with the rules of the metrics")
	interval := adapter.Flags().Duration("metrics-relist-interval", 10*time.Minute, "how often to list the series of Prometheus")
	logs.AddFlags(adapter.Flags())
	if err := adapter.Flags().Parse(args); err != nil {
		return err
	}
	base, err := url.Parse(*prometheus)
	if err != nil {
		return err
	}
	discovery, err := config.FromFile(*rules)
	if err != nil {
		return err
	}
	mapper, err := adapter.RESTMapper()
	if err != nil {
		return err
	}
	objects, err := adapter.DynamicClient()
	if err != nil {
		return err
	}
	namers, err := naming.NamersFromConfig(discovery.Rules, mapper)
	if err != nil {
		return err
	}
	api := withoutTimeout{client.NewGenericAPIClient(http.DefaultClient, base, nil)}
	queries := client.NewClientForAPI(api, http.MethodGet)
	// As in the project's program, series count as existing for as long as the interval.
	metrics, lister := provider.NewPrometheusProvider(mapper, objects, queries, namers, *interval, *interval)
	lister.RunUntil(ctx.Done())
	adapter.WithCustomMetrics(metrics)
	return adapter.Run(ctx)
}

// withoutTimeout removes the time limit from queries. The adapter 0.12 computes a negative one, which Prometheus refuses;
// with the older library that formats it, it was empty. The request still ends at its context's deadline.
type withoutTimeout struct {
	client.GenericAPIClient
}

func (api withoutTimeout) Do(ctx context.Context, verb, endpoint string, query url.Values) (client.APIResponse, error) {
	query.Del("timeout")
	return api.GenericAPIClient.Do(ctx, verb, endpoint, query)
}
