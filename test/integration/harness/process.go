package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is the controller's real binary, started by a test.
type Process struct {
	MetricsAddress, HealthAddress string
	// Proxy is what stands between the process and the API server, nil if it was given none.
	Proxy *Proxy

	world  *World
	cmd    *exec.Cmd
	stdout lockedBuffer
	stderr lockedBuffer
	done   chan struct{}
}

// StartProcess runs the binary, through a proxy of its own, for the test's namespace alone. It is killed at the end of
// the test at the latest. Later flags win over earlier ones.
func (w *World) StartProcess(binary string, flags ...string) *Process {
	w.Helper()
	p := &Process{
		world: w, Proxy: w.StartProxy(), done: make(chan struct{}),
		MetricsAddress: w.FreeAddress(), HealthAddress: w.FreeAddress(),
	}
	flags = append([]string{
		"--kubeconfig=" + p.Proxy.Kubeconfig, "--namespaces=" + w.Namespace, "--leader-election-namespace=" + w.Namespace,
		"--metrics-bind-address=" + p.MetricsAddress, "--health-probe-bind-address=" + p.HealthAddress,
	}, flags...)
	p.cmd = exec.Command(binary, flags...)
	p.cmd.Env = append(os.Environ(), "POD_NAMESPACE=")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		w.Fatalf("failed to start %s: %v", binary, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is in ProcessState
	}()
	w.Cleanup(p.Kill)
	return p
}

// WaitReady returns once the process says that it is ready.
func (p *Process) WaitReady() {
	p.world.Helper()
	p.world.Eventually("the process to be ready", func() error {
		select {
		case <-p.done:
			p.world.Fatalf("the process ended with code %d:\n%s", p.cmd.ProcessState.ExitCode(), p.Output())
		default:
		}
		_, err := fetch("http://" + p.HealthAddress + "/readyz")
		return err
	})
}

// Probe is the error of a request to the health address, nil if it answers 200.
func (p *Process) Probe(path string) error {
	_, err := fetch("http://" + p.HealthAddress + path)
	return err
}

// Metrics scrapes the process.
func (p *Process) Metrics() (Metrics, error) { return Scrape(p.MetricsAddress) }

// Output is what the process has printed so far.
func (p *Process) Output() string {
	return fmt.Sprintf("stdout:\n%s\nstderr:\n%s", p.Stdout(), p.Stderr())
}

// Stdout is what the process has printed to standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process has printed to standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Kill ends the process without a chance to tidy up.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Terminate sends SIGTERM and returns the exit code.
func (p *Process) Terminate() int {
	p.world.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.world.Fatalf("failed to send SIGTERM: %v", err)
	}
	return p.Wait(Patience)
}

// Wait returns the exit code once the process has ended by itself.
func (p *Process) Wait(patience time.Duration) int {
	p.world.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.world.Fatalf("the process did not end within %s:\n%s", patience, p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// lockedBuffer is written by the process's pipe and read by the test.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
