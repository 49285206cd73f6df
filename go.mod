module github.com/kube-zen/zen-lead

go 1.26.0

require (
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
	k8s.io/client-go v0.37.2
	sigs.k8s.io/controller-runtime v0.25.2
	github.com/prometheus/client_golang v1.25.0
	github.com/stretchr/testify v1.12.1
)
