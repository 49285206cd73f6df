package director

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// report tells what was done: it runs after the writes have succeeded, and says only what changed.
func (r *ServiceDirectorReconciler) report(ctx context.Context, p *plan, arrived time.Time) {
	key := client.ObjectKeyFromObject(p.source)
	r.Metrics.Observe(key, p.status())
	r.announcements.problems(p.source, p.problems)
	if p.refused() {
		return
	}
	r.announcements.leadership(p)
	if !p.moved() {
		return
	}
	if p.before.Epoch > 0 {
		r.Metrics.Transition(key, string(p.decision.Reason))
	}
	if p.before.UID != "" && !arrived.IsZero() {
		r.Metrics.Failover(r.Clock.Since(arrived))
	}
	log.FromContext(ctx).Info("leader changed", "leaderService", p.name, "leader", p.after.PodName,
		"previous", p.before.PodName, "reason", p.decision.Reason, "epoch", p.after.Epoch)
}
