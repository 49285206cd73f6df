// Package harness runs the controller against a real API server and watches what it does there: what it requests, what
// it writes, and whether the promises that hold at every moment are kept.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Tester is the field manager under which the tests themselves write.
const Tester = "tester"

// Nodes are the names of the Node objects that exist. Each is alone in a zone: see Zone.
func Nodes() []string { return []string{"node-a", "node-b", "node-c"} }

// Zone is the topology zone of a node.
func Zone(node string) string { return strings.Replace(node, "node", "zone", 1) }

// ControlPlane is etcd, an API server with dual-stack Service addresses, and the stock controllers that zen-lead has to
// live with: those for EndpointSlices, Endpoints and their mirroring, namespaces, garbage, quotas and service accounts.
type ControlPlane struct {
	Config     *rest.Config
	Client     client.WithWatch
	Kubeconfig []byte

	env     *envtest.Environment
	manager *exec.Cmd
	dir     string
	audit   string
	guard   *guard
}

// StartControlPlane returns when the API server answers and the stock controllers are seen to work. If this process ends
// without a call of Stop, the control plane is ended and scratch directories are removed all the same.
func StartControlPlane(ctx context.Context, scratch ...string) (_ *ControlPlane, err error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS is not set: run `make test-integration`, or export KUBEBUILDER_ASSETS=$(ci/envtest.sh)")
	}
	plane := &ControlPlane{env: &envtest.Environment{
		BinaryAssetsDirectory:    assets,
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  30 * time.Second,
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, plane.Stop())
		}
	}()
	if plane.dir, err = os.MkdirTemp("", "zen-lead-integration-"); err != nil {
		return nil, fmt.Errorf("failed to create a directory: %w", err)
	}
	policy := filepath.Join(plane.dir, "audit-policy.yaml")
	if err = os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("failed to write the audit policy: %w", err)
	}
	plane.audit = filepath.Join(plane.dir, "audit.log")
	plane.env.ControlPlane.GetAPIServer().Configure().
		Set("service-cluster-ip-range", "10.96.0.0/16,fd00:10:96::/112").
		Set("event-ttl", "1h").
		Set("audit-policy-file", policy).
		Set("audit-log-path", plane.audit)
	if plane.Config, err = plane.env.Start(); err != nil {
		return nil, fmt.Errorf("failed to start the API server from %s: %w", assets, err)
	}
	plane.Kubeconfig = plane.env.KubeConfig
	plane.Config.UserAgent = Tester
	if plane.Client, err = client.NewWithWatch(plane.Config, client.Options{}); err != nil {
		return nil, fmt.Errorf("failed to build a client: %w", err)
	}
	if err = plane.createNodes(ctx); err != nil {
		return nil, err
	}
	if err = plane.startControllerManager(assets); err != nil {
		return nil, err
	}
	plane.guard, err = startGuard(append(scratch, plane.dir, plane.env.ControlPlane.GetAPIServer().CertDir, plane.env.ControlPlane.Etcd.DataDir)...)
	if err != nil {
		return nil, err
	}
	return plane, plane.waitForStockControllers(ctx)
}

// User is the way to the API server of somebody without any rights but those that a test gives them.
func (p *ControlPlane) User(name string) (*rest.Config, error) {
	user, err := p.env.AddUser(envtest.User{Name: name}, &rest.Config{})
	if err != nil {
		return nil, fmt.Errorf("failed to add user %s: %w", name, err)
	}
	return user.Config(), nil
}

// Stop ends every process that StartControlPlane started. It may be called more than once.
func (p *ControlPlane) Stop() error {
	if p.manager != nil {
		// The controller-manager has no state of its own, and is slow to leave politely once its API server is gone.
		_ = p.manager.Process.Kill()
		_ = p.manager.Wait()
		p.manager = nil
	}
	err := p.env.Stop()
	p.guard.dismiss()
	p.guard = nil
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

func (p *ControlPlane) createNodes(ctx context.Context) error {
	for _, name := range Nodes() {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelTopologyZone:   Zone(name),
			corev1.LabelTopologyRegion: "region",
			corev1.LabelHostname:       name,
		}}}
		if err := p.Client.Create(ctx, node); err != nil {
			return fmt.Errorf("failed to create node %s: %w", name, err)
		}
	}
	return nil
}

func (p *ControlPlane) startControllerManager(assets string) error {
	kubeconfig := filepath.Join(p.dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, p.Kubeconfig, 0o600); err != nil {
		return fmt.Errorf("failed to write a kubeconfig: %w", err)
	}
	log, err := os.Create(filepath.Join(p.dir, "kube-controller-manager.log"))
	if err != nil {
		return fmt.Errorf("failed to create a log: %w", err)
	}
	controllers := []string{
		"endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller",
		"garbage-collector-controller", "namespace-controller", "resourcequota-controller", "serviceaccount-controller",
	}
	p.manager = exec.Command(filepath.Join(assets, "kube-controller-manager"),
		"--kubeconfig="+kubeconfig, "--controllers="+strings.Join(controllers, ","), "--leader-elect=false",
		"--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000")
	p.manager.Stdout, p.manager.Stderr = log, log
	if err := p.manager.Start(); err != nil {
		p.manager = nil
		return errors.Join(fmt.Errorf("failed to start kube-controller-manager: %w", err), log.Close())
	}
	return log.Close() // the child has its own copy
}

// waitForStockControllers sees a default ServiceAccount made and an orphan collected: some tests show that the stock
// controllers leave our objects alone, which means little unless they run.
func (p *ControlPlane) waitForStockControllers(ctx context.Context) error {
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner", Namespace: metav1.NamespaceDefault}}
	if err := p.Client.Create(ctx, owner); err != nil {
		return fmt.Errorf("failed to create config map default/owner: %w", err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", Namespace: metav1.NamespaceDefault,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}}}
	if err := p.Client.Create(ctx, owned); err != nil {
		return fmt.Errorf("failed to create config map default/owned: %w", err)
	}
	if err := p.Client.Delete(ctx, owner); err != nil {
		return fmt.Errorf("failed to delete config map default/owner: %w", err)
	}
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		account := &corev1.ServiceAccount{}
		err := p.Client.Get(ctx, client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "default"}, account)
		if err != nil {
			return false, client.IgnoreNotFound(err)
		}
		err = p.Client.Get(ctx, client.ObjectKeyFromObject(owned), owned)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("failed to see the stock controllers work: %w\n%s", err, p.controllerManagerLog())
	}
	return nil
}

// controllerManagerLog is the end of the controller-manager's log.
func (p *ControlPlane) controllerManagerLog() string {
	log, err := os.ReadFile(filepath.Join(p.dir, "kube-controller-manager.log"))
	if err != nil {
		return err.Error()
	}
	const tail = 4000
	return string(log[max(0, len(log)-tail):])
}
