"""The real thing: API server, kubelet, kube-proxy and CoreDNS, two nodes in two zones."""
