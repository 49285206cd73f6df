package director

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// roll is a namespace's pods, a Service that selects those of app=web, and what is remembered of it. It does what the
// cache and the handlers do: the store first, the handler after it.
type roll struct {
	t *testing.T
	*members
	store   client.WithWatch
	source  *corev1.Service
	scans   int
	reads   int
	onScan  func()
	onReads func()
}

func newRoll(t *testing.T, pods ...string) *roll {
	t.Helper()
	r := &roll{t: t, members: newMembers(), onScan: func() {}, onReads: func() {}, source: &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: web.Namespace, Name: web.Name},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}},
	}}
	r.store = interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			r.scans++
			err := c.List(ctx, list, options...)
			r.onScan()
			return err
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			r.reads++
			err := c.Get(ctx, key, object, options...)
			r.onReads()
			return err
		},
	})
	for _, name := range pods {
		r.create(name, "web")
	}
	return r
}

func (r *roll) create(name, app string) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: web.Namespace, Name: name, Labels: map[string]string{"app": app}}}
	require.NoError(r.t, r.store.Create(r.t.Context(), pod))
}

func (r *roll) remove(name string) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: web.Namespace, Name: name}}
	require.NoError(r.t, r.store.Delete(r.t.Context(), pod))
}

// names are the pods that a look finds, sorted.
func (r *roll) names() []string {
	r.t.Helper()
	pods, err := r.of(r.t.Context(), r.store, r.source)
	require.NoError(r.t, err)
	names := []string{}
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

func TestMembers_TheNamespaceIsListedOnce(t *testing.T) {
	r := newRoll(t, "a", "b")
	r.create("x", "other")
	assert.Equal(t, []string{"a", "b"}, r.names())
	assert.Equal(t, []string{"a", "b"}, r.names())
	assert.Equal(t, 1, r.scans)
	assert.Equal(t, 2, r.reads, "the pods of other Services are not even looked at")
}

func TestMembers_EventsKeepTheListUpToDate(t *testing.T) {
	r := newRoll(t, "a")
	r.names()
	r.create("b", "web")
	r.joined(web, "b")
	assert.Equal(t, []string{"a", "b"}, r.names())
	r.remove("a")
	r.left(web, "a")
	assert.Equal(t, []string{"b"}, r.names())
	r.create("a", "web") // reborn under its name
	r.joined(web, "a")
	assert.Equal(t, []string{"a", "b"}, r.names())
	assert.Equal(t, 1, r.scans)
}

func TestMembers_AnEventDuringTheListIsNotLost(t *testing.T) {
	for name, known := range map[string]bool{"first list": false, "list after a change of selector": true} {
		t.Run(name, func(t *testing.T) {
			r := newRoll(t, "a")
			if known {
				r.names()
				r.reselected(web)
			}
			r.onScan = func() {
				r.onScan = func() {}
				r.create("b", "web")
				r.joined(web, "b")
			}
			assert.Equal(t, []string{"a"}, r.names(), "what the list showed is used")
			assert.Equal(t, []string{"a", "b"}, r.names(), "but not kept")
		})
	}
}

func TestMembers_APodThatComesBackWhileItIsMissedIsNotLost(t *testing.T) {
	r := newRoll(t, "a")
	r.names()
	r.remove("a") // its event is on the way
	r.onReads = func() {
		r.onReads = func() {}
		r.create("a", "web")
		r.joined(web, "a")
	}
	assert.Empty(t, r.names())
	assert.Equal(t, []string{"a"}, r.names())
}

func TestMembers_ARelabelledPodGoesAndComesBack(t *testing.T) {
	r := newRoll(t, "a", "b")
	r.names()
	relabel := func(app string) {
		var pod corev1.Pod
		require.NoError(t, r.store.Get(t.Context(), types.NamespacedName{Namespace: web.Namespace, Name: "a"}, &pod))
		pod.Labels["app"] = app
		require.NoError(t, r.store.Update(t.Context(), &pod))
		r.joined(web, "a") // the handler brings in the Services of the labels before and after
	}
	relabel("quarantine")
	assert.Equal(t, []string{"b"}, r.names())
	before := r.reads
	r.names()
	assert.Equal(t, before+1, r.reads, "it is not looked at again")
	relabel("web")
	assert.Equal(t, []string{"a", "b"}, r.names())
	assert.Equal(t, 1, r.scans)
}

func TestMembers_AnotherSelectorListsAnew(t *testing.T) {
	r := newRoll(t, "a")
	r.create("x", "other")
	r.names()
	r.source.Spec.Selector = map[string]string{"app": "other"}
	assert.Equal(t, []string{"x"}, r.names())
	assert.Equal(t, 2, r.scans)
}

// While the Service selected others, the events of its pods were not for it.
func TestMembers_ASelectorThatComesBackListsAnew(t *testing.T) {
	r := newRoll(t, "a")
	r.names()
	r.create("b", "web") // no event: the Service selects others at that moment
	r.reselected(web)
	assert.Equal(t, []string{"a", "b"}, r.names())
}

func TestMembers_WhatIsForgottenCostsNothing(t *testing.T) {
	r := newRoll(t, "a")
	r.joined(web, "a")
	assert.Empty(t, r.rosters, "nobody has asked")
	r.names()
	r.forget(web)
	assert.Empty(t, r.rosters)
	assert.Equal(t, []string{"a"}, r.names())
	assert.Equal(t, 2, r.scans)
}

// A list that began before the Service was forgotten must not pass for one that began after it.
func TestMembers_AListOfBeforeIsNotKept(t *testing.T) {
	r := newRoll(t, "a")
	r.onScan = func() {
		r.onScan = func() {}
		r.forget(web)
		r.create("b", "web")
		_, _, known := r.known(web, r.source.Spec.Selector)
		assert.False(t, known)
	}
	assert.Equal(t, []string{"a"}, r.names())
	assert.Equal(t, []string{"a", "b"}, r.names())
}
