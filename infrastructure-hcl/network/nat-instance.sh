#!/bin/sh
# Runs once, at the first boot: makes this instance forward the connections of the private subnets.
set -eu

cat > /etc/sysctl.d/90-nat.conf << 'END'
net.ipv4.ip_forward = 1
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.default.send_redirects = 0
END
sysctl --system

# The public address may take a moment to work.
until dnf install --assumeyes --quiet nftables; do sleep 5; done

cat > /etc/sysconfig/nftables.conf << 'END'
flush ruleset

table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr ${cidr} ip daddr != ${cidr} masquerade
  }
}
END
systemctl enable --now nftables
