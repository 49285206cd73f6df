package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// TestRandomHistories_EndRight has pods come, go and change at random, while one write in six fails in some way; the
// invariants are watched all the time. The seeds are fixed, so that a failure can be had again.
func TestRandomHistories_EndRight(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			w.Invariants.AllowUserEdits()
			controller := w.StartController()
			w.Service(web().Families(corev1.IPFamilyPolicyRequireDualStack))
			w.Requests.Intercept(flaky(seed))
			history := &history{World: w, random: rand.New(rand.NewPCG(seed, 1)), pods: map[string]bool{}}
			const steps = 80
			for step := range steps {
				history.step(step)
				if step == steps/2 {
					controller.Stop()
					controller = w.StartController()
				}
			}
			w.Requests.Intercept(nil)
			last := w.Pod(pod("last")).Name // somebody can lead in the end
			w.Barrier()
			leader := ""
			w.Eventually("the published leader to be Ready and staying", func() (err error) {
				leader, err = soundLeader(w)
				return err
			})
			w.ExpectLeader("web-leader", leader)
			w.Logf("seed %d: %d changes, %s leads (last was %s)", seed, len(w.Invariants.History("web-leader-ipv4")), leader, last)
		})
	}
}

// soundLeader is the pod that the primary slice publishes, if it may lead.
func soundLeader(w *harness.World) (string, error) {
	state, err := w.State("web-leader")
	if err != nil {
		return "", err
	}
	if len(state.Primary.Endpoints) != 1 {
		return "", fmt.Errorf("%d endpoints", len(state.Primary.Endpoints))
	}
	name := state.Primary.Endpoints[0].TargetRef.Name
	p, err := w.GetPod(name)
	if err != nil {
		return "", err
	}
	ready := false
	for _, c := range p.Status.Conditions {
		ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	if !ready || p.DeletionTimestamp != nil || p.Labels["app"] != "web" || p.UID != state.Primary.Endpoints[0].TargetRef.UID {
		return "", fmt.Errorf("pod %s is published: ready=%t terminating=%t labels=%v", name, ready, p.DeletionTimestamp != nil, p.Labels)
	}
	return name, nil
}

// flaky refuses one write in six, as a conflict or as an error.
func flaky(seed uint64) harness.Intercept {
	random := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	return func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if !r.IsWrite() || r.Resource == "leases" || r.Resource == "events" {
			return nil, nil
		}
		mu.Lock()
		dice := random.IntN(12)
		mu.Unlock()
		switch dice {
		case 0:
			return harness.Refusal(http.StatusConflict, "Conflict", "made up"), nil
		case 1:
			return harness.Refusal(http.StatusInternalServerError, "InternalError", "made up"), nil
		}
		return nil, nil
	}
}

// history is a random sequence of what can happen to pods.
type history struct {
	*harness.World
	random *rand.Rand
	pods   map[string]bool // true while it is not terminating
}

func (h *history) step(step int) {
	h.Helper()
	name := h.pick()
	switch dice := h.random.IntN(10); {
	case name == "" || len(h.pods) < 2 || dice < 2 && len(h.pods) < 6:
		name = fmt.Sprintf("p%d", step)
		h.Pod(pod(name))
		h.pods[name] = true
	case dice < 5:
		h.SetReady(name, h.random.IntN(2) == 0)
	case dice < 6 && h.pods[name]:
		h.TerminatePod(name)
		h.pods[name] = false
	case dice < 8:
		h.KillPod(name)
		delete(h.pods, name)
	case dice < 9:
		h.UpdatePod(name, func(p *corev1.Pod) { p.Labels["app"] = []string{"web", "other"}[h.random.IntN(2)] })
	default:
		h.damage()
	}
}

// pick is one of the pods, in an order that depends on the seed alone.
func (h *history) pick() string {
	best, bestScore := "", -1
	for _, name := range sortedKeys(h.pods) {
		if score := h.random.IntN(1000); score > bestScore {
			best, bestScore = name, score
		}
	}
	return best
}

// damage deletes something of ours, if it is there.
func (h *history) damage() {
	h.Helper()
	objects := []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}}
	names := []string{"web-leader", "web-leader-ipv4"}
	n := h.random.IntN(len(objects))
	objects[n].SetName(names[n])
	objects[n].SetNamespace(h.Namespace)
	if err := h.Client.Delete(h.Context(), objects[n]); err != nil && !apierrors.IsNotFound(err) {
		h.Fatalf("failed to delete %s: %v", names[n], err)
	}
}
