package harness

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The ServiceAccount that a test's controller runs as, and the roles that it has: those of the chart.
const (
	ControllerAccount = "controller"
	servedRole        = "controller-served"
	electionRole      = "controller-election"
)

// Rights are what the chart allows the controller: where it serves Services, and where its Lease is.
type Rights struct {
	Served, Election []rbacv1.PolicyRule
}

// Define makes the roles that tests' controllers are bound to.
func (p *ControlPlane) Define(ctx context.Context, rights Rights) error {
	for name, rules := range map[string][]rbacv1.PolicyRule{servedRole: rights.Served, electionRole: rights.Election} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
		if err := p.Client.Create(ctx, role); err != nil {
			return fmt.Errorf("failed to create cluster role %s: %w", name, err)
		}
	}
	return nil
}

// ControllerConfig is the way to the API server of a ServiceAccount of the test's namespace that has the chart's rights
// and no others.
func (w *World) ControllerConfig() *rest.Config {
	w.Helper()
	if w.rights != nil {
		return rest.CopyConfig(w.rights)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: ControllerAccount}}
	w.Create(account)
	w.bind(electionRole, false)
	w.bind(servedRole, w.anywhere)
	request := &authenticationv1.TokenRequest{}
	if err := w.Client.SubResource("token").Create(w.Context(), account, request); err != nil {
		w.Fatalf("failed to get a token of service account %s: %v", account.Name, err)
	}
	w.rights = rest.AnonymousClientConfig(w.Config())
	w.rights.BearerToken = request.Status.Token
	w.awaitRights()
	return rest.CopyConfig(w.rights)
}

// bind gives the controller a role, in the test's namespace or in all.
func (w *World) bind(role string, everywhere bool) {
	w.Helper()
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: ControllerAccount, Namespace: w.Namespace}}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	if !everywhere {
		w.Create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role}, Subjects: subjects, RoleRef: ref})
		return
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role + "-" + w.Namespace}, Subjects: subjects, RoleRef: ref}
	if err := w.Client.Create(w.Context(), binding); err != nil {
		w.Fatalf("failed to create cluster role binding %s: %v", binding.Name, err)
	}
	w.Cleanup(func() {
		if err := w.Client.Delete(context.WithoutCancel(w.Context()), binding); err != nil {
			w.Errorf("failed to delete cluster role binding %s: %v", binding.Name, err)
		}
	})
}

// awaitRights waits until the API server knows of the bindings: a controller that is refused at first starts late.
func (w *World) awaitRights() {
	w.Helper()
	as, err := client.New(w.rights, client.Options{})
	if err != nil {
		w.Fatalf("failed to build a client: %v", err)
	}
	for _, attributes := range []authorizationv1.ResourceAttributes{
		{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: w.Namespace},
		{Verb: "list", Resource: "services", Namespace: w.Namespace},
	} {
		w.Eventually("the controller to have its rights", func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
			if err := as.Create(w.Context(), review); err != nil {
				return fmt.Errorf("failed to review access: %w", err)
			}
			if !review.Status.Allowed {
				return fmt.Errorf("%s of %s is not allowed: %s", attributes.Verb, attributes.Resource, review.Status.Reason)
			}
			return nil
		})
	}
}
