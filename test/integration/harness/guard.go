package harness

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// guard ends the control plane after a test process that could not do it itself: a panic or the timeout of `go test`
// runs no clean-up, and the API server and etcd would stay for ever.
type guard struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startGuard watches over the present children of this process, and over the directories that they use. It waits for
// the end of its standard input, which comes with the end of this process, however that comes about.
func startGuard(directories ...string) (*guard, error) {
	children, err := childProcesses()
	if err != nil || len(children) == 0 {
		return nil, err // no Linux: nothing to go by
	}
	script := fmt.Sprintf("trap '' INT TERM; cat >/dev/null; kill -9 %s; sleep 1; rm -rf -- \"$@\"", strings.Join(children, " "))
	g := &guard{cmd: exec.Command("sh", append([]string{"-c", script, "guard"}, directories...)...)}
	stdin, err := g.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("failed to make a pipe: %w", err)
	}
	g.stdin = stdin
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("failed to start the guard: %w", err)
	}
	return g, nil
}

// dismiss ends the guard without its doing anything.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	_ = g.stdin.Close()
}

// childProcesses are the ids of this process's children.
func childProcesses() ([]string, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("failed to list threads: %w", err)
	}
	var children []string
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended since
		}
		children = append(children, strings.Fields(string(text))...)
	}
	return children, nil
}
