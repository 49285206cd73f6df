// Package cluster is a cluster that has all of Kubernetes but nodes: a real API server, the stock controllers, and in the
// place of kubelets a loop that lets pods come up and go. A pod of zen-lead's image is a process of the real binary, with
// the arguments, the namespace and the ServiceAccount that the pod was given. It is enough for what a page of the
// documentation tells its readers to do with kubectl and helm, and costs seconds.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// Cluster is a running cluster.
type Cluster struct {
	*harness.ControlPlane
	// Assets is the directory with kubectl.
	Assets string

	dir       string
	workloads *child
	nodes     *nodes
	stop      func() error
}

// Start returns when the cluster can take workloads. binary is zen-lead; crds are files with kinds to install.
func Start(ctx context.Context, binary string, crds ...string) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "zen-lead-docs-")
	if err != nil {
		return nil, fmt.Errorf("failed to create a directory: %w", err)
	}
	c := &Cluster{Assets: os.Getenv("KUBEBUILDER_ASSETS"), dir: dir}
	c.stop = sync.OnceValue(c.end)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.ControlPlane, err = harness.StartControlPlane(ctx, dir); err != nil {
		return nil, err
	}
	if len(crds) > 0 {
		if _, err = envtest.InstallCRDs(c.Config, envtest.CRDInstallOptions{Paths: crds, ErrorIfPathMissing: true}); err != nil {
			return nil, fmt.Errorf("failed to install CRDs: %w", err)
		}
	}
	kubeconfig := filepath.Join(dir, "admin")
	if err = os.WriteFile(kubeconfig, c.Kubeconfig, 0o600); err != nil {
		return nil, fmt.Errorf("failed to write a kubeconfig: %w", err)
	}
	// Beside those that the control plane runs.
	c.workloads, err = startChild(filepath.Join(dir, "workloads.log"), filepath.Join(c.Assets, "kube-controller-manager"),
		"--kubeconfig="+kubeconfig, "--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000",
		"--controllers=deployment-controller,replicaset-controller,statefulset-controller,disruption-controller")
	if err != nil {
		return nil, err
	}
	c.nodes, err = startNodes(ctx, c, binary)
	return c, err
}

// Stop ends everything. It may be called more than once.
func (c *Cluster) Stop() error { return c.stop() }

func (c *Cluster) end() error {
	if c.nodes != nil {
		c.nodes.stop()
	}
	c.workloads.kill()
	var err error
	if c.ControlPlane != nil {
		err = c.ControlPlane.Stop()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// child is a process that ends with this one, however that ends.
type child struct {
	cmd   *exec.Cmd
	guard *exec.Cmd
	log   string
	done  chan struct{}
}

func startChild(log, path string, args ...string) (*child, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("failed to create a log: %w", err)
	}
	defer func() { _ = file.Close() }() // the child has its own copy
	c := &child{cmd: exec.Command(path, args...), log: log, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = file, file
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("failed to start %s: %w", path, err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // the exit code is in ProcessState
	}()
	c.guard = exec.Command("sh", "-c", fmt.Sprintf("trap '' INT TERM; cat >/dev/null; kill -9 %d", c.cmd.Process.Pid))
	if _, err := c.guard.StdinPipe(); err != nil { // its other end is this process
		return c, errors.Join(fmt.Errorf("failed to make a pipe: %w", err), c.cmd.Process.Kill())
	}
	if err := c.guard.Start(); err != nil {
		return c, errors.Join(fmt.Errorf("failed to start a guard: %w", err), c.cmd.Process.Kill())
	}
	return c, nil
}

// kill ends the process at once.
func (c *child) kill() {
	if c == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	<-c.done
	c.dismiss()
}

// dismiss ends the guard without its doing anything.
func (c *child) dismiss() {
	_ = c.guard.Process.Kill()
	_ = c.guard.Wait()
}

// ended tells whether the process has ended by itself.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *child) output() []byte {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}
