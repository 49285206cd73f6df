package election

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pod is an eligible candidate that has been Ready and in existence for an hour; mods change it.
func pod(name string, mods ...func(*Candidate)) Candidate {
	c := Candidate{UID: types.UID("uid-" + name), Name: name, ReadySince: noon.Add(-time.Hour), Created: noon.Add(-time.Hour), AllFamilies: true}
	for _, mod := range mods {
		mod(&c)
	}
	return c
}

func blocked(b Block) func(*Candidate) { return func(c *Candidate) { c.Blocked = b } }

func leaving(serving bool) func(*Candidate) {
	return func(c *Candidate) { c.Blocked, c.Serving = Terminating, serving }
}

func readyFor(d time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.ReadySince = noon.Add(-d) }
}

func of(workload, revision string, age time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.Workload, c.Revision, c.Created = workload, revision, noon.Add(-age) }
}

func cost(v int32) func(*Candidate)      { return func(c *Candidate) { c.DeletionCost = v } }
func missingFamily(c *Candidate)         { c.AllFamilies = false }
func uid(v types.UID) func(*Candidate)   { return func(c *Candidate) { c.UID = v } }
func pods(list ...Candidate) []Candidate { return list }

var sticky = Policy{Sticky: true}

func TestDecideWhoLeads(t *testing.T) {
	tests := map[string]struct {
		incumbent  string
		candidates []Candidate
		policy     Policy
		leader     string
		fallback   bool
		reason     Reason
	}{
		"nobody to choose from": {policy: sticky, reason: FirstElection},
		"first election":        {candidates: pods(pod("a")), policy: sticky, leader: "a", reason: FirstElection},
		"the incumbent stays although another comes first": {
			incumbent: "b", candidates: pods(pod("a"), pod("b")), policy: sticky, leader: "b", reason: Preferred},
		"without stickiness the first leads": {
			incumbent: "b", candidates: pods(pod("a"), pod("b")), leader: "a", reason: Preferred},
		"without stickiness an incumbent that is first stays": {
			incumbent: "a", candidates: pods(pod("a"), pod("b")), leader: "a", reason: Preferred},
		"a pod reborn under the incumbent's name is not the incumbent": {
			incumbent: "b", candidates: pods(pod("a"), pod("b", uid("other"))), policy: sticky, leader: "a", reason: IncumbentGone},
		"trap 5: a terminating incumbent is replaced at once": {
			incumbent: "a", candidates: pods(pod("a", leaving(true)), pod("b")), policy: sticky, leader: "b", reason: IncumbentTerminating},
		"a NotReady incumbent is replaced": {
			incumbent: "a", candidates: pods(pod("a", blocked(NotReady)), pod("b")), policy: sticky, leader: "b", reason: IncumbentNotReady},
		"an incumbent that stopped running is replaced": {
			incumbent: "a", candidates: pods(pod("a", blocked(NotRunning)), pod("b")), policy: sticky, leader: "b", reason: IncumbentNotRunning},
		"an incumbent without address is replaced": {
			incumbent: "a", candidates: pods(pod("a", blocked(NoAddress)), pod("b")), policy: sticky, leader: "b", reason: IncumbentNoAddress},
		"an incumbent whose port does not resolve is replaced": {
			incumbent: "a", candidates: pods(pod("a", blocked(PortUnresolved)), pod("b")), policy: sticky, leader: "b", reason: IncumbentPortUnresolved},
		"alone and terminating: the last resort": {
			incumbent: "a", candidates: pods(pod("a", leaving(true))), policy: sticky, leader: "a", fallback: true, reason: IncumbentTerminating},
		"the incumbent is the first last resort": {
			incumbent: "b", candidates: pods(pod("a", leaving(true)), pod("b", leaving(true)), pod("c", leaving(true))), policy: sticky,
			leader: "b", fallback: true, reason: IncumbentTerminating},
		"any terminating pod that serves is a last resort": {
			incumbent: "gone", candidates: pods(pod("b", leaving(true)), pod("a", leaving(true)), pod("0", leaving(false))), policy: sticky,
			leader: "a", fallback: true, reason: IncumbentGone},
		"terminating and not serving is no resort": {
			incumbent: "a", candidates: pods(pod("a", leaving(false)), pod("b", blocked(NotReady))), policy: sticky, reason: IncumbentTerminating},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var incumbent types.UID
			if test.incumbent != "" {
				incumbent = types.UID("uid-" + test.incumbent)
			}
			d := Decide(noon, incumbent, test.candidates, test.policy)
			want := types.UID("")
			if test.leader != "" {
				want = types.UID("uid-" + test.leader)
			}
			assert.Equal(t, want, d.Leader)
			assert.Equal(t, test.fallback, d.Fallback)
			assert.Equal(t, test.reason, d.Reason)
			assert.Zero(t, d.Recheck)
		})
	}
}

// Each row is one rule: first and second differ in nothing but what the rule looks at, or have everything that comes
// later speak for second.
func TestOrderOfPreference(t *testing.T) {
	tests := map[string]struct{ first, second Candidate }{
		"2 not outdated first": {
			pod("z", of("w", "new", time.Minute), missingFamily, readyFor(time.Second)),
			pod("a", of("w", "old", time.Hour), cost(9))},
		"3 an address in every family first": {
			pod("z", readyFor(time.Second)), pod("a", missingFamily, cost(9))},
		"4 higher deletion cost first": {
			pod("z", cost(1), readyFor(time.Second)), pod("a", cost(-1))},
		"6 Ready for longest first": {
			pod("z", readyFor(2*time.Hour)), pod("a")},
		"7 name": {pod("a", uid("z")), pod("b", uid("a"))},
		"8 UID":  {pod("a", uid("1")), pod("a", uid("2"))},
		"other workloads are not compared": {
			pod("a", of("v", "old", time.Hour)), pod("b", of("w", "new", time.Minute))},
		"the same revision is not outdated": {
			pod("a", of("w", "same", time.Hour)), pod("b", of("w", "same", time.Minute))},
		"unknown revisions are not compared": {
			pod("a", of("w", "", time.Hour)), pod("b", of("w", "new", time.Minute))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, candidates := range [][]Candidate{{test.first, test.second}, {test.second, test.first}} {
				assert.Equal(t, test.first.UID, Decide(noon, "", candidates, sticky).Leader)
			}
		})
	}
}

// Rule 5: Kubernetes gives up the pods of a failed node one after the other.
func TestALeaderThatIsNotReadyMakesItsNodeSuspect(t *testing.T) {
	at := func(node string) func(*Candidate) { return func(c *Candidate) { c.Node = node } }
	fresh := readyFor(time.Second)
	tests := map[string]struct {
		policy     Policy
		incumbent  Candidate
		candidates []Candidate
		leader     types.UID
	}{
		"not Ready":       {sticky, pod("x", at("1"), blocked(NotReady)), pods(pod("a", at("1")), pod("z", at("2"), fresh)), "uid-z"},
		"not running":     {sticky, pod("x", at("1"), blocked(NotRunning)), pods(pod("a", at("1")), pod("z", at("2"), fresh)), "uid-z"},
		"all on one node": {sticky, pod("x", at("1"), blocked(NotReady)), pods(pod("a", at("1")), pod("z", at("1"), fresh)), "uid-a"},
		"what the user prefers counts more": {sticky, pod("x", at("1"), blocked(NotReady)),
			pods(pod("a", at("1"), cost(1)), pod("z", at("2"), fresh)), "uid-a"},
		"unknown nodes are not suspect":          {sticky, pod("x", blocked(NotReady)), pods(pod("a"), pod("z", at("2"), fresh)), "uid-a"},
		"a leader that ends says nothing of it":  {sticky, pod("x", at("1"), leaving(true)), pods(pod("a", at("1")), pod("z", at("2"), fresh)), "uid-a"},
		"without stickiness it would lead back":  {Policy{}, pod("x", at("1"), blocked(NotReady)), pods(pod("a", at("1")), pod("z", at("2"), fresh)), "uid-a"},
		"another pod that is not Ready says not": {sticky, pod("x"), pods(pod("a", at("1"), blocked(NotReady)), pod("z", at("1"), fresh)), "uid-x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(noon, test.incumbent.UID, append(test.candidates, test.incumbent), test.policy)
			assert.Equal(t, test.leader, d.Leader)
		})
	}
}

func TestTrap11RolloutMovesTheLeaderOnce(t *testing.T) {
	old, next := "old", "new"
	var running []Candidate
	for _, name := range []string{"o1", "o2", "o3", "o4", "o5"} {
		running = append(running, pod(name, of("Deployment", old, time.Hour)))
	}
	leader, moves := types.UID("uid-o1"), 0
	for i, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
		age := 5*time.Minute - time.Duration(i)*time.Minute
		running = append(running, pod(name, of("Deployment", next, age), readyFor(age)))
		running = running[1:] // the oldest goes
		d := Decide(noon, leader, running, sticky)
		require.NotEmpty(t, d.Leader)
		if d.Leader != leader {
			leader, moves = d.Leader, moves+1
		}
	}
	assert.Equal(t, 1, moves)
}

func TestOutdatedLooksAtAllRevisions(t *testing.T) {
	candidates := pods(
		pod("a", of("w", "r1", 3*time.Hour)),
		pod("b", of("w", "r2", 2*time.Hour)),
		pod("c", of("w", "r1", time.Hour), readyFor(time.Minute)), // rolled back: r1 is the newest again
	)
	assert.Equal(t, types.UID("uid-c"), Decide(noon, "", candidates, sticky).Leader)

	// A newer pod that is on its way out does not outdate the others.
	candidates = pods(pod("a", of("w", "r1", time.Hour)), pod("b", of("w", "r2", time.Minute), leaving(true)), pod("c"))
	assert.Equal(t, types.UID("uid-a"), Decide(noon, "", candidates, sticky).Leader)
}

func TestMinReadyDuration(t *testing.T) {
	policy := Policy{Sticky: true, MinReady: 10 * time.Second}

	d := Decide(noon, "", pods(pod("a", readyFor(4*time.Second)), pod("b", readyFor(3*time.Second))), policy)
	assert.Empty(t, d.Leader)
	assert.Equal(t, 6*time.Second, d.Recheck, "the wait of the first to ripen")
	assert.Equal(t, map[string]int{StateWaiting: 2}, d.Counts)
	assert.Equal(t, SuppressedByMinReady, d.Suppressed)
	assert.Equal(t, types.UID("uid-a"), d.Challenger)

	d = Decide(noon.Add(6*time.Second), "", pods(pod("a", readyFor(4*time.Second))), policy)
	assert.Equal(t, types.UID("uid-a"), d.Leader, "ripe to the instant")

	d = Decide(noon, "uid-a", pods(pod("a", readyFor(time.Second))), policy)
	assert.Equal(t, types.UID("uid-a"), d.Leader, "the incumbent is exempt")
	assert.Zero(t, d.Recheck)

	d = Decide(noon, "uid-a", pods(pod("a", blocked(NotReady)), pod("b", readyFor(time.Second)), pod("c", readyFor(time.Minute))), policy)
	assert.Equal(t, types.UID("uid-c"), d.Leader, "a ripe one leads at once")
	assert.Zero(t, d.Recheck)

	d = Decide(noon, "uid-a", pods(pod("a", leaving(true)), pod("b", readyFor(time.Second))), policy)
	assert.Equal(t, types.UID("uid-a"), d.Leader, "meanwhile the last resort serves")
	assert.True(t, d.Fallback)
	assert.Equal(t, 9*time.Second, d.Recheck)

	d = Decide(noon, "uid-b", pods(pod("a", readyFor(time.Second), cost(5)), pod("b")), Policy{MinReady: 10 * time.Second})
	assert.Equal(t, types.UID("uid-b"), d.Leader)
	assert.Equal(t, 9*time.Second, d.Recheck, "without stickiness a better one takes over when it is ripe")
}

// The Ready condition's time is the kubelet's. A clock that is ahead may cost a second wait, but never locks a pod out.
func TestReadyTimeInTheFuture(t *testing.T) {
	policy := Policy{MinReady: 10 * time.Second}
	d := Decide(noon, "", pods(pod("a", readyFor(-3*time.Second))), policy)
	assert.Equal(t, 13*time.Second, d.Recheck)
	d = Decide(noon, "", pods(pod("a", readyFor(-time.Hour))), policy)
	assert.Equal(t, types.UID("uid-a"), d.Leader)
}

func TestShorterTreatsZeroAsNone(t *testing.T) {
	assert.Equal(t, time.Second, Shorter(0, time.Second))
	assert.Equal(t, time.Second, Shorter(time.Second, 0))
	assert.Equal(t, time.Second, Shorter(2*time.Second, time.Second))
	assert.Zero(t, Shorter(0, 0))
}

func TestSuppressedBySticky(t *testing.T) {
	d := Decide(noon, "uid-b", pods(pod("a"), pod("b")), sticky)
	assert.Equal(t, SuppressedBySticky, d.Suppressed)
	assert.Equal(t, types.UID("uid-a"), d.Challenger)
	d = Decide(noon, "uid-a", pods(pod("a"), pod("b")), sticky)
	assert.Equal(t, NotSuppressed, d.Suppressed)
}

func candidateGen() *rapid.Generator[Candidate] {
	return rapid.Custom(func(t *rapid.T) Candidate {
		c := Candidate{
			UID:          types.UID(rapid.StringMatching(`[a-e]`).Draw(t, "uid")),
			Name:         rapid.StringMatching(`[a-c]`).Draw(t, "name"),
			Node:         rapid.SampledFrom([]string{"", "m", "n"}).Draw(t, "node"),
			Blocked:      rapid.SampledFrom([]Block{Free, Free, Free, NotReady, Terminating, NotRunning, Ended}).Draw(t, "blocked"),
			ReadySince:   noon.Add(time.Duration(rapid.IntRange(-20, 20).Draw(t, "ready")) * time.Second),
			Created:      noon.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "age")) * time.Second),
			Workload:     rapid.SampledFrom([]string{"", "v", "w"}).Draw(t, "workload"),
			Revision:     rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "revision"),
			AllFamilies:  rapid.Bool().Draw(t, "families"),
			DeletionCost: int32(rapid.IntRange(-1, 1).Draw(t, "cost")),
		}
		c.Serving = c.Blocked == Terminating && rapid.Bool().Draw(t, "serving")
		return c
	})
}

func TestDecideInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := rapid.SliceOfNDistinct(candidateGen(), 0, 5, func(c Candidate) types.UID { return c.UID }).Draw(t, "candidates")
		incumbent := types.UID(rapid.StringMatching(`[a-f]?`).Draw(t, "incumbent"))
		policy := Policy{
			Sticky:   rapid.Bool().Draw(t, "sticky"),
			MinReady: time.Duration(rapid.IntRange(0, 15).Draw(t, "minReady")) * time.Second,
		}
		byUID := map[types.UID]Candidate{}
		clocksAgree := true
		for _, c := range candidates {
			byUID[c.UID] = c
			clocksAgree = clocksAgree && c.ReadySince.Sub(noon) <= policy.MinReady
		}
		d := Decide(noon, incumbent, candidates, policy)

		require.Equal(t, d, Decide(noon, incumbent, rapid.Permutation(candidates).Draw(t, "order"), policy), "the order of candidates matters")
		leader, exists := byUID[d.Leader]
		switch {
		case d.Leader == "":
		case !exists:
			t.Fatalf("leader %q is no candidate", d.Leader)
		case d.Fallback:
			require.True(t, leader.Serving, "a last resort that does not serve")
		default:
			require.Equal(t, Free, leader.Blocked)
			if d.Leader != incumbent {
				require.Zero(t, remaining(noon, &leader, policy.MinReady), "not ripe")
			}
		}
		if c, ok := byUID[incumbent]; ok && c.Blocked == Free && policy.Sticky {
			require.Equal(t, incumbent, d.Leader, "a needless switch")
		}
		// A time so far ahead that it is not believed comes to be believed as our clock catches up with it. The decision
		// has no memory, and so time turns it back once; of all other times it must be right about when to look again.
		if d.Recheck > 0 && clocksAgree {
			later := Decide(noon.Add(d.Recheck), incumbent, candidates, policy)
			require.Less(t, later.Counts[StateWaiting], d.Counts[StateWaiting], "woken for nothing")
			before := Decide(noon.Add(d.Recheck-time.Nanosecond), incumbent, candidates, policy)
			require.Equal(t, d.Leader, before.Leader, "time alone changed the decision before the recheck")
		}
		again := Decide(noon, d.Leader, candidates, policy)
		require.Equal(t, d.Leader, again.Leader, "the decision does not settle")
	})
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []struct {
		name string
		pods int
	}{{"3", 3}, {"100", 100}} {
		candidates := make([]Candidate, n.pods)
		for i := range candidates {
			candidates[i] = pod(string(rune('a'+i)), of("w", "r", time.Hour))
		}
		b.Run(n.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(noon, "uid-gone", candidates, sticky)
			}
		})
	}
}
