package simulation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/kube-zen/zen-lead/src/api"
)

// TestRollouts replaces all pods as a Deployment without unavailability does, under a controller that lags behind, fails
// and restarts: the leader moves once.
func TestRollouts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			h := &history{t: t, world: newWorld(profile{})}
			defer h.close()
			h.addSource("web", map[string]string{api.AnnotationEnabled: "true"}, corev1.IPv4Protocol)
			r := &rollout{history: h, replicas: 1 + h.draw(5), surge: 1 + h.draw(2)}
			for i := range r.replicas {
				h.addPod(newPod{name: fmt.Sprintf("a%d", i), revision: "a", ready: true})
			}
			h.begins(0, [kinds]int{}).elect()
			h.rest(time.Second)
			before := published(h.server.slice("web-leader-ipv4"))
			t.Repeat(map[string]func(*rapid.T){"": h.check, "step": func(*rapid.T) { r.step() }})
			for r.deploy() {
				h.check(t)
			}
			h.quiet()
			if after := published(h.server.slice("web-leader-ipv4")); after.epoch > before.epoch+1 {
				h.violate(oneMovePerRollout, "%d moves in a rollout of %d replicas", after.epoch-before.epoch, r.replicas)
			}
			h.check(t)
		})
	})
}

type rollout struct {
	*history
	replicas, surge, made int
}

func (r *rollout) step() {
	switch n := r.draw(16); {
	case n < 5:
		r.deploy()
	case n < 8:
		r.someoneSees()
	case n < 10:
		r.someoneLooks()
	case n < 12:
		r.requestMoves()
	case n < 13:
		r.someoneSettles()
	case n < 14:
		r.timePasses()
	case n < 15:
		r.processEnds()
	default:
		r.processBegins()
	}
}

// deploy takes the next step of the rollout, false if there is none.
func (r *rollout) deploy() bool {
	var old, going, fresh, unready []string
	for _, name := range sortedNames(r.server.objects[pods]) {
		pod := r.server.pod(name)
		switch {
		case pod.DeletionTimestamp != nil:
			going = append(going, name)
		case pod.Labels["pod-template-hash"] == "a":
			old = append(old, name)
		case isReady(pod):
			fresh = append(fresh, name)
		default:
			unready = append(unready, name)
		}
	}
	var steps []func()
	if r.made < r.replicas && len(old)+len(fresh)+len(unready) < r.replicas+r.surge {
		steps = append(steps, func() {
			r.pass(time.Second)
			r.addPod(newPod{name: fmt.Sprintf("b%d", r.made), revision: "b"})
			r.made++
		})
	}
	for _, name := range unready {
		steps = append(steps, func() { r.ready(name, true, 0) })
	}
	if len(old)+len(fresh) > r.replicas {
		for _, name := range old {
			steps = append(steps, func() { r.terminate(name) })
		}
	}
	for _, name := range going {
		steps = append(steps, func() { r.remove(name) })
	}
	if len(steps) == 0 {
		return false
	}
	slices.Clip(steps)[r.draw(len(steps))]()
	return true
}
