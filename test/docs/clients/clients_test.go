package clients

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	client "github.com/kube-zen/zen-lead/examples/clients/go"
)

// Times of the tests: short, and in the order of the defaults.
const (
	request  = 400 * time.Millisecond
	lifetime = 2 * time.Second
	pause    = 50 * time.Millisecond
	tries    = 20
)

// getter is a client in some language.
type getter func(url string) (string, error)

func goClient(t *testing.T) getter {
	t.Helper()
	c := client.New(client.Settings{Connect: request, Request: request, Lifetime: lifetime, Tries: tries, Pause: pause})
	return func(url string) (string, error) {
		body, err := c.Get(t.Context(), url)
		return string(body), err
	}
}

// nodeClient runs the client of examples/clients/node: it takes a URL a line, and answers with a line.
func nodeClient(t *testing.T) getter {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node on this machine: the client in JavaScript is not tested")
	}
	script := fmt.Sprintf(`import { createInterface } from 'node:readline';
import { Client } from '../../../examples/clients/node/client.mjs';
const client = new Client({ connect: %d, request: %d, lifetime: %d, pause: %d, tries: %d });
for await (const url of createInterface({ input: process.stdin })) {
  await client.get(url).then((body) => console.log('ok ' + body), (error) => console.log('error ' + error.message));
}`, request.Milliseconds(), request.Milliseconds(), lifetime.Milliseconds(), pause.Milliseconds(), tries)
	command := exec.CommandContext(t.Context(), node, "--input-type=module", "--eval", script)
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	var problems strings.Builder
	command.Stderr = &problems
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = in.Close(); _ = command.Process.Kill(); _ = command.Wait() })
	answers := bufio.NewReader(out)
	return func(url string) (string, error) {
		if _, err := io.WriteString(in, url+"\n"); err != nil {
			return "", err
		}
		line, err := answers.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("node ended: %w: %s", err, problems.String())
		}
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind != "ok" {
			return "", fmt.Errorf("%s", rest)
		}
		return rest, nil
	}
}

// scene is two pods of which a leads, and a client that has a connection to it.
func scene(t *testing.T, get getter) (f *front, a, b *pod) {
	t.Helper()
	f, a, b = startFront(t), startPod(t, "a"), startPod(t, "b")
	f.lead(a)
	answered(t, get, f, "a")
	return f, a, b
}

func answered(t *testing.T, get getter, f *front, by string) {
	t.Helper()
	name, err := get(f.url())
	require.NoError(t, err)
	assert.Equal(t, by, name)
}

// What docs/clients.md says of each failure, of the client in each language.
func TestClientsGetOverAFailover(t *testing.T) {
	for language, start := range map[string]func(*testing.T) getter{"go": goClient, "node": nodeClient} {
		t.Run(language, func(t *testing.T) {
			t.Run("the leader dies, and nobody leads for a while", func(t *testing.T) {
				t.Parallel()
				get := start(t)
				f, a, b := scene(t, get)
				f.lead(nil)
				a.kill()
				time.AfterFunc(5*pause, func() { f.lead(b) })
				answered(t, get, f, "b")
			})
			t.Run("the leader's node falls silent", func(t *testing.T) {
				t.Parallel()
				get := start(t)
				f, a, b := scene(t, get)
				a.freeze()
				f.lead(b)
				begin := time.Now()
				answered(t, get, f, "b")
				assert.GreaterOrEqual(t, time.Since(begin), request/2, "the silent connection was tried first")
				answered(t, get, f, "b")
			})
			t.Run("a connection to a former leader does not last", func(t *testing.T) {
				t.Parallel()
				get := start(t)
				f, _, b := scene(t, get)
				f.lead(b)
				answered(t, get, f, "a") // it lives, and the connection is there
				require.Eventually(t, func() bool {
					name, err := get(f.url())
					return err == nil && name == "b"
				}, 3*lifetime, pause)
			})
			t.Run("a leader that cannot answer is asked again", func(t *testing.T) {
				t.Parallel()
				get := start(t)
				f, a, _ := scene(t, get)
				a.setStatus(http.StatusServiceUnavailable)
				time.AfterFunc(5*pause, func() { a.setStatus(http.StatusOK) })
				answered(t, get, f, "a")
			})
			t.Run("when nobody comes back it says so", func(t *testing.T) {
				t.Parallel()
				get := start(t)
				f, a, _ := scene(t, get)
				f.lead(nil)
				a.kill()
				_, err := get(f.url())
				assert.ErrorContains(t, err, fmt.Sprintf("in %d tries", tries))
			})
		})
	}
}
