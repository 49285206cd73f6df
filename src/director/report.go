package director

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// report tells what was done: it runs after the writes have succeeded, and says only what changed.
func (r *ServiceDirectorReconciler) report(ctx context.Context, p *plan) {
	key := client.ObjectKeyFromObject(p.source)
	r.Metrics.Observe(key, p.status())
	r.announcements.problems(p.source, p.problems)
	if p.silent() {
		r.announcements.leaderlessUntold(key)
		return
	}
	c := r.announcements.settle(key, p.change())
	r.announcements.leadership(p, c)
	p.retell = r.announcements.leaderless(p, c)
	if p.after.UID == "" && c.before.UID != "" {
		_, why := shortage(p.decision)
		log.FromContext(ctx).Info("nobody leads", "leaderService", p.name, "previous", c.before.PodName, "cause", why, "epoch", p.after.Epoch)
	}
	if c.before.Epoch == p.after.Epoch {
		return
	}
	if c.before.Epoch > 0 {
		r.Metrics.Transition(key, string(c.reason))
	}
	if c.before.UID != "" && p.after.UID != "" && !p.arrived.IsZero() {
		r.Metrics.Failover(r.Clock.Since(p.arrived))
	}
	log.FromContext(ctx).Info("leader changed", "leaderService", p.name, "leader", p.after.PodName,
		"previous", c.before.PodName, "reason", c.reason, "epoch", p.after.Epoch)
}

// change is what this pass changes about who leads.
func (p *plan) change() change { return change{before: p.before, reason: p.decision.Reason} }

// failed remembers, after a write failed, what users are yet to be told: the next pass finds part of it done.
func (r *ServiceDirectorReconciler) failed(p *plan) {
	if p.before.UID != p.after.UID || p.before.Ready != p.after.Ready {
		r.announcements.owe(client.ObjectKeyFromObject(p.source), p.change())
	}
}
