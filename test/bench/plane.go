package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The users of the control plane. Nobody but the driver is an administrator, because administrators bypass the API
// server's priority and fairness. The groups decide the priority level: zen-lead and the bare loop share that of
// service accounts, and the controller-manager has its own, higher one, as in a real cluster.
const (
	userZenLead = "zen-lead"
	userBare    = "bare-loop"
	userManager = "system:kube-controller-manager"
)

// What the EndpointSlice controller is given. Its defaults of 20 requests a second and 30 at once would decide every
// comparison; these are zen-lead's own. The number of workers is its default.
const (
	managerQPS     = "500"
	managerBurst   = "1000"
	managerWorkers = "5"
)

// plane is etcd and an API server, and optionally the EndpointSlice controller, as processes of their own.
type plane struct {
	options options
	dir     string
	env     *envtest.Environment
	admin   *rest.Config
	client  *kubernetes.Clientset
	store   *store
	audit   string
	configs map[string]*rest.Config
	files   map[string]string
	log     *os.File
	// running are the processes that must not outlive the plane.
	running []*process
}

func startPlane(ctx context.Context, o options) (_ *plane, err error) {
	p := &plane{options: o, configs: map[string]*rest.Config{}, files: map[string]string{}}
	if p.dir, err = os.MkdirTemp("", "zen-lead-bench-"); err != nil {
		return nil, fmt.Errorf("failed to create a directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	p.env = &envtest.Environment{
		BinaryAssetsDirectory:    o.assets,
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  30 * time.Second,
	}
	if err := p.configure(); err != nil {
		return nil, err
	}
	if p.admin, err = p.env.Start(); err != nil {
		return nil, fmt.Errorf("failed to start the API server from %s: %w", o.assets, err)
	}
	p.admin.QPS = -1
	p.admin.ContentType = "application/vnd.kubernetes.protobuf"
	p.admin.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if p.client, err = kubernetes.NewForConfig(p.admin); err != nil {
		return nil, fmt.Errorf("failed to build a client: %w", err)
	}
	p.store = newStore(p.env.ControlPlane.Etcd.URL.String())
	return p, p.addUsers(ctx)
}

// configure sets what differs from the test environment's own settings.
func (p *plane) configure() error {
	p.audit = filepath.Join(p.dir, "audit.log")
	policy := filepath.Join(p.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("failed to write the audit policy: %w", err)
	}
	p.env.ControlPlane.GetAPIServer().Configure().
		Set("service-cluster-ip-range", "10.96.0.0/12").
		Set("audit-policy-file", policy).
		Set("audit-log-path", p.audit).
		Set("event-ttl", "1h")
	log, err := os.Create(filepath.Join(p.dir, "control-plane.log"))
	if err != nil {
		return fmt.Errorf("failed to create a log: %w", err)
	}
	p.log = log
	server := p.env.ControlPlane.GetAPIServer()
	server.Out, server.Err = log, log
	p.env.ControlPlane.Etcd = &envtest.Etcd{Out: log, Err: log}
	etcd := p.env.ControlPlane.Etcd.Configure()
	etcd.Set("quota-backend-bytes", "8589934592")
	if p.options.fsync {
		etcd.Disable("unsafe-no-fsync")
	}
	return nil
}

// auditPolicy makes the API server note who asked for what, for the users that are compared alike. One line a request
// is cheaper than any proxy, and cannot be mistaken about what arrived.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  verbs: [watch, list, get]
  users: ["` + userManager + `"]
- level: None
  resources: [{group: coordination.k8s.io}]
- level: Metadata
  users: ["` + userZenLead + `", "` + userBare + `", "` + userManager + `"]
- level: None
`

func (p *plane) addUsers(ctx context.Context) error {
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}
	for user, groups := range map[string][]string{
		userZenLead: {"system:serviceaccounts"}, userBare: {"system:serviceaccounts"}, userManager: nil,
	} {
		added, err := p.env.AddUser(envtest.User{Name: user, Groups: groups}, nil)
		if err != nil {
			return fmt.Errorf("failed to add user %s: %w", user, err)
		}
		text, err := added.KubeConfig()
		if err != nil {
			return fmt.Errorf("failed to make a kubeconfig for user %s: %w", user, err)
		}
		file := filepath.Join(p.dir, fmt.Sprintf("kubeconfig-%d", len(p.files)))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("failed to write a kubeconfig for user %s: %w", user, err)
		}
		p.configs[user], p.files[user] = added.Config(), file
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: user})
	}
	if _, err := p.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("failed to give the users rights: %w", err)
	}
	return p.store.put(ctx, nodes()...)
}

// startManager runs the controller-manager with the EndpointSlice controller alone.
func (p *plane) startManager() (*process, error) {
	return p.start("kube-controller-manager", filepath.Join(p.options.assets, "kube-controller-manager"),
		"--kubeconfig="+p.files[userManager], "--controllers=endpointslice-controller", "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps="+managerQPS, "--kube-api-burst="+managerBurst, "--concurrent-service-endpoint-syncs="+managerWorkers)
}

// startController runs the real binary, with default flags but for addresses and place.
func (p *plane) startController(flags ...string) (*process, error) {
	metrics, probes, err := freeAddresses()
	if err != nil {
		return nil, err
	}
	flags = append([]string{
		"--kubeconfig=" + p.files[userZenLead], "--leader-election-namespace=" + metav1.NamespaceDefault,
		"--metrics-bind-address=" + metrics, "--health-probe-bind-address=" + probes,
	}, flags...)
	process, err := p.start("zen-lead", p.options.binary, flags...)
	if err != nil {
		return nil, err
	}
	process.metrics, process.probes = "http://"+metrics+"/metrics", "http://"+probes
	return process, nil
}

// startBare runs the bare loop: this program, called by another name.
func (p *plane) startBare(namespace string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("failed to find this program: %w", err)
	}
	metrics, _, err := freeAddresses()
	if err != nil {
		return nil, err
	}
	process, err := p.start("bare-loop", self, "bare", "-kubeconfig="+p.files[userBare], "-namespace="+namespace, "-probe="+metrics)
	if err != nil {
		return nil, err
	}
	process.probes = "http://" + metrics
	return process, nil
}

// start runs a program until the plane stops at the latest.
func (p *plane) start(name, path string, args ...string) (*process, error) {
	process, err := startProcess(name, p.dir, path, args...)
	if err != nil {
		return nil, err
	}
	p.running = append(p.running, process)
	return process, nil
}

// stop ends what was started, and removes what was written.
func (p *plane) stop() error {
	for _, process := range p.running {
		process.kill()
	}
	var err error
	if p.env != nil {
		err = p.env.Stop()
	}
	if p.log != nil {
		err = errors.Join(err, p.log.Close())
	}
	if p.options.keep {
		fmt.Fprintln(os.Stderr, "logs are in", p.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

func nodes() []object {
	var list []object
	for i := range nodeCount {
		name := nodeName(i)
		list = append(list, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: newUID(), CreationTimestamp: metav1.Now(),
			Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i), corev1.LabelHostname: name},
		}})
	}
	return list
}
