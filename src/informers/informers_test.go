package informers

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

func fullPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "ns", UID: "1", ResourceVersion: "5", Labels: map[string]string{"app": "a"},
			Annotations:       map[string]string{corev1.PodDeletionCost: "3", "big": "annotation"},
			CreationTimestamp: metav1.NewTime(time.Unix(1, 0)), DeletionTimestamp: ptr.To(metav1.NewTime(time.Unix(2, 0))),
			DeletionGracePeriodSeconds: ptr.To(int64(30)),
			ManagedFields:              []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
			Finalizers:                 []string{"x"},
			OwnerReferences:            []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "r", Controller: ptr.To(true)}, {Kind: "Other"}},
		},
		Spec: corev1.PodSpec{
			NodeName: "n",
			Containers: []corev1.Container{{
				Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "A"}},
				Ports: []corev1.ContainerPort{{Name: "http", Protocol: corev1.ProtocolTCP, ContainerPort: 80, HostPort: 8}, {ContainerPort: 81}},
			}},
			InitContainers: []corev1.Container{
				{Name: "once", Ports: []corev1.ContainerPort{{Name: "no", ContainerPort: 1}}},
				{Name: "sidecar", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "mesh", ContainerPort: 2}}},
			},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, HostIP: "1.1.1.1",
			Conditions:        []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue, Message: "m"}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "c"}},
		},
	}
}

func TestACachedPodHasWhatIsReadAndNothingElse(t *testing.T) {
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "ns", UID: "1", ResourceVersion: "5", Labels: map[string]string{"app": "a"},
			Annotations:       map[string]string{corev1.PodDeletionCost: "3"},
			CreationTimestamp: metav1.NewTime(time.Unix(1, 0)), DeletionTimestamp: ptr.To(metav1.NewTime(time.Unix(2, 0))),
			DeletionGracePeriodSeconds: ptr.To(int64(30)),
			OwnerReferences:            []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "r", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{
			NodeName:       "n",
			Containers:     []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", Protocol: corev1.ProtocolTCP, ContainerPort: 80}}}},
			InitContainers: []corev1.Container{{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "mesh", ContainerPort: 2}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	assert.Equal(t, want, NewPod(fullPod()).Full())
	assert.Equal(t, &corev1.Pod{}, NewPod(&corev1.Pod{}).Full())
}

// Whatever is in the strings, the cached pod has them as they were.
func TestSharedStringsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringN(100, 300, -1))).Draw(t, "fields")
		got := slices.Collect(share(fields...).all())
		assert.Equal(t, len(fields), len(got))
		assert.True(t, slices.Equal(fields, got))
	})
}

func TestLabelsAreLookedUpWithoutAMap(t *testing.T) {
	cached := NewPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "tier", "tier": "front", "empty": ""}}})
	found := labelsOf{cached.labels}
	for key, want := range map[string]string{"app": "tier", "tier": "front", "empty": ""} {
		value, ok := found.Lookup(key)
		assert.True(t, ok, key)
		assert.True(t, found.Has(key))
		assert.Equal(t, want, value)
		assert.Equal(t, want, found.Get(key))
	}
	for _, absent := range []string{"front", ""} {
		assert.False(t, found.Has(absent), "a value is no key")
		assert.Empty(t, found.Get(absent))
	}
}

// anyPod draws pods of every kind that matters here, of which many are alike but for one thing.
func anyPod(t *rapid.T, label string) *corev1.Pod {
	word := func(what string) string { return rapid.SampledFrom([]string{"a", "b"}).Draw(t, label+what) }
	when := func(what string) metav1.Time {
		return metav1.NewTime(time.Unix(rapid.Int64Range(1, 2).Draw(t, label+what), 0))
	}
	yes := func(what string) bool { return rapid.Bool().Draw(t, label+what) }
	ports := func(what string) []corev1.ContainerPort {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) corev1.ContainerPort {
			return corev1.ContainerPort{
				Name:          rapid.SampledFrom([]string{"", "http", "dns"}).Draw(t, "name"),
				Protocol:      rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}).Draw(t, "protocol"),
				ContainerPort: rapid.Int32Range(1, 3).Draw(t, "number"),
			}
		}), 0, 3).Draw(t, label+what)
	}
	pod := fullPod()
	pod.Name, pod.UID, pod.ResourceVersion = word("name"), types.UID(word("uid")), word("version")
	pod.Labels = map[string]string{
		"app": word("app"), "tier": "front", "zone": word("zone"), "pod-template-hash": word("hash"), "controller-revision-hash": word("revision"), "e": "",
	}
	pod.Annotations = rapid.SampledFrom([]map[string]string{nil, {corev1.PodDeletionCost: "3"}, {corev1.PodDeletionCost: "x"}}).Draw(t, label+"cost")
	pod.CreationTimestamp = when("created")
	if yes("stays") {
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = nil, nil
	}
	pod.OwnerReferences[0].Kind = rapid.SampledFrom([]string{"ReplicaSet", "StatefulSet"}).Draw(t, label+"owner")
	pod.OwnerReferences[0].Controller = ptr.To(yes("owned"))
	pod.Spec.NodeName = word("node")
	always := ptr.To(corev1.ContainerRestartPolicyAlways)
	pod.Spec.Containers = []corev1.Container{{Name: "one", Ports: ports("one")}, {Name: "two", Ports: ports("two")}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "once", Ports: ports("once")}, {Name: "sidecar", RestartPolicy: always, Ports: ports("sidecar")}}
	pod.Status.Phase = rapid.SampledFrom([]corev1.PodPhase{corev1.PodRunning, corev1.PodPending, corev1.PodFailed}).Draw(t, label+"phase")
	pod.Status.PodIPs = rapid.SampledFrom([][]corev1.PodIP{nil, {{IP: "10.0.0.1"}}, {{IP: "10.0.0.1"}, {IP: "fd00::1"}}}).Draw(t, label+"ips")
	pod.Status.Conditions = nil
	if yes("told") {
		status := rapid.SampledFrom([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}).Draw(t, label+"ready")
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: when("since")}}
	}
	return pod
}

// Nothing that is made of a pod differs if the cache had it, and a change of what the cache has is a change.
func TestACachedPodIsAsGoodAsTheWholeOne(t *testing.T) {
	source := service(optedIn, func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		s.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}}
	})
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t, "pod ")
		cached := NewPod(pod.DeepCopy())
		whole, packed := routing.Candidates(source, []*corev1.Pod{pod})[0], routing.Candidates(source, []*corev1.Pod{cached.Full()})[0]
		leads := routing.Leadership{UID: pod.UID, PodName: pod.Name, Epoch: 1, Ready: true}
		for _, family := range source.Spec.IPFamilies {
			assert.Equal(t, routing.DesiredSlice(source, "s-leader", family, leads, whole.Pod, nil, time.Unix(9, 0)),
				routing.DesiredSlice(source, "s-leader", family, leads, packed.Pod, nil, time.Unix(9, 0)))
		}
		whole.Pod, packed.Pod = nil, nil
		assert.Equal(t, whole, packed)

		again := NewPod(pod.DeepCopy())
		assert.True(t, cached.Same(again))
		other := NewPod(anyPod(t, "other "))
		a, b := cached.Full(), other.Full()
		a.ResourceVersion, b.ResourceVersion = "", ""
		assert.Equal(t, equality.Semantic.DeepEqual(a, b), cached.Same(other))
	})
}

// Each field that the cache keeps makes a difference by itself: two pods drawn at random differ in many.
func TestEachDifferenceCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t, "")
		changed := pod.DeepCopy()
		donor := reflect.ValueOf(anyPod(t, "donor ")).Elem()
		into := reflect.ValueOf(changed).Elem()
		path := rapid.SampledFrom([][2]string{
			{"ObjectMeta", "Name"}, {"ObjectMeta", "UID"}, {"ObjectMeta", "Labels"}, {"ObjectMeta", "Annotations"}, {"ObjectMeta", "CreationTimestamp"},
			{"ObjectMeta", "DeletionTimestamp"}, {"ObjectMeta", "DeletionGracePeriodSeconds"}, {"ObjectMeta", "OwnerReferences"}, {"Spec", "NodeName"},
			{"Spec", "Containers"}, {"Spec", "InitContainers"}, {"Status", "Phase"}, {"Status", "PodIPs"}, {"Status", "Conditions"},
		}).Draw(t, "field")
		into.FieldByName(path[0]).FieldByName(path[1]).Set(donor.FieldByName(path[0]).FieldByName(path[1]))
		a, b := NewPod(pod), NewPod(changed)
		assert.Equal(t, equality.Semantic.DeepEqual(a.Full(), b.Full()), a.Same(b), "%v", path)
	})
}

// What no decision reads is no reason to look: most events of pods are of that kind.
func TestWhatIsNotReadMakesNoDifference(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"version":      func(p *corev1.Pod) { p.ResourceVersion = "9" },
		"restarts":     func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount++ },
		"scheduled":    func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse },
		"annotations":  func(p *corev1.Pod) { p.Annotations["big"] = "other" },
		"image":        func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other" },
		"managedField": func(p *corev1.Pod) { p.ManagedFields = nil },
	} {
		pod := fullPod()
		change(pod)
		assert.True(t, NewPod(fullPod()).Same(NewPod(pod)), name)
	}
}

func TestACachedPodIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Pod{}), uintptr(352), "the next larger size that Go allocates is 384 bytes")
}

// Pods of one workload are to cost no more than what tells them apart.
func TestPodsOfOneWorkloadShareWhatTheyHaveInCommon(t *testing.T) {
	slim := func(name string) *Pod {
		pod := fullPod()
		pod.Name, pod.UID = name, types.UID(name)
		return NewPod(pod)
	}
	a, b := slim("a"), slim("b")
	assert.True(t, a.SameLabels(b))
	assert.True(t, a.SamePhase(b))
	assert.True(t, a.owner == b.owner && a.ports == b.ports && a.node == b.node && a.namespace == b.namespace && a.labels == b.labels)
	assert.False(t, a.Same(b))
}

// fill gives the store an informer of the example's kind, as controller-runtime's cache does, and the informer the objects.
func fill(t *testing.T, store *Store, example client.Object, objects ...client.Object) {
	t.Helper()
	informer := store.newInformer(&toolscache.ListWatch{}, example, 0, nil)
	for _, object := range objects {
		require.NoError(t, informer.GetIndexer().Add(object))
	}
}

func TestPodsAreReadFromTheInformersOfAllNamespaces(t *testing.T) {
	pod := func(namespace, name, app string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}}
	}
	store := NewStore()
	c := store.Client(nil)
	var got corev1.Pod
	assert.ErrorContains(t, c.Get(t.Context(), types.NamespacedName{Namespace: "a", Name: "one"}, &got), "does not watch")
	assert.ErrorContains(t, c.List(t.Context(), &corev1.PodList{}, client.InNamespace("a"), client.MatchingLabels{"app": "web"}), "does not watch")
	fill(t, store, &Pod{}, NewPod(pod("a", "one", "web")), NewPod(pod("a", "two", "db")))
	fill(t, store, &Pod{}, NewPod(pod("b", "one", "web")), NewPod(pod("b", "two", "web")))

	require.NoError(t, c.Get(t.Context(), types.NamespacedName{Namespace: "b", Name: "two"}, &got))
	assert.Equal(t, *pod("b", "two", "web"), got)
	assert.True(t, apierrors.IsNotFound(c.Get(t.Context(), types.NamespacedName{Namespace: "c", Name: "two"}, &got)))

	web := client.MatchingLabels{"app": "web"}
	for namespace, want := range map[string]int{"a": 1, "b": 2, "c": 0} {
		var list corev1.PodList
		require.NoError(t, c.List(t.Context(), &list, client.InNamespace(namespace), web))
		assert.Len(t, list.Items, want, namespace)
	}
	var list corev1.PodList
	for _, options := range [][]client.ListOption{{web}, {client.InNamespace("a")}, {client.InNamespace("a"), web, client.MatchingFields{"x": "y"}}} {
		assert.ErrorContains(t, c.List(t.Context(), &list, options...), "by namespace and labels")
	}
}

// Services and slices are found by the indexes alone, of which each informer has its own, whether it was there before or not.
func TestServicesAndSlicesAreReadByIndex(t *testing.T) {
	made := func(namespace, name, owner string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Service", Name: "s", UID: types.UID(owner), Controller: ptr.To(true)},
		}}
	}
	store := NewStore()
	c := store.Client(nil)
	source := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", UID: "1"}}
	fill(t, store, &corev1.Service{}, &corev1.Service{ObjectMeta: made("a", "one", "1")}, &corev1.Service{ObjectMeta: made("a", "two", "2")})
	require.NoError(t, AddIndexes(t.Context(), store, NewSelectors()))
	_, _, err := OwnedBy(t.Context(), c, source)
	assert.ErrorContains(t, err, "does not watch", "there are no slices yet")
	fill(t, store, &corev1.Service{}, &corev1.Service{ObjectMeta: made("b", "one", "1")})
	fill(t, store, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSlice{ObjectMeta: made("a", "x", "1")}, &discoveryv1.EndpointSlice{ObjectMeta: made("a", "y", "2")})

	services, endpointSlices, err := OwnedBy(t.Context(), c, source)
	require.NoError(t, err)
	assert.Equal(t, []*corev1.Service{{ObjectMeta: made("a", "one", "1")}}, services, "not that of the other namespace")
	assert.Equal(t, []*discoveryv1.EndpointSlice{{ObjectMeta: made("a", "x", "1")}}, endpointSlices)

	var service corev1.Service
	require.NoError(t, c.Get(t.Context(), types.NamespacedName{Namespace: "b", Name: "one"}, &service))
	assert.Equal(t, made("b", "one", "1"), service.ObjectMeta)
	var slice discoveryv1.EndpointSlice
	require.NoError(t, c.Get(t.Context(), types.NamespacedName{Namespace: "a", Name: "y"}, &slice))
	assert.Equal(t, made("a", "y", "2"), slice.ObjectMeta)
	assert.EqualError(t, c.Get(t.Context(), types.NamespacedName{Namespace: "a", Name: "z"}, &slice), `endpointslices.discovery.k8s.io "z" not found`)

	owner := client.MatchingFields{indexOwner: "1"}
	for _, options := range [][]client.ListOption{{owner}, {client.InNamespace("a")}, {client.InNamespace("a"), owner, client.MatchingLabels{"a": "b"}}} {
		assert.ErrorContains(t, c.List(t.Context(), &corev1.ServiceList{}, options...), "one index")
	}
	assert.ErrorContains(t, c.List(t.Context(), &corev1.ServiceList{}, client.InNamespace("a"), client.MatchingFields{"x": "y"}), "index x")
	assert.ErrorContains(t, c.Get(t.Context(), types.NamespacedName{}, &corev1.Node{}), "not cached")
	assert.ErrorContains(t, c.List(t.Context(), &corev1.NodeList{}), "not cached")
	assert.ErrorContains(t, store.IndexField(t.Context(), &corev1.Node{}, "x", nil), "not cached")
}

func service(mods ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "s", Namespace: "ns", UID: "1", ResourceVersion: "5", Labels: map[string]string{"team": "x"},
			Annotations: map[string]string{"other": "annotation"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "s"}},
	}
	for _, mod := range mods {
		mod(s)
	}
	return s
}

func optedIn(s *corev1.Service) { s.Annotations[api.AnnotationEnabled] = "true" }
func ownedByS(s *corev1.Service) {
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "s", UID: "9", Controller: ptr.To(true)}}
}
func labelled(s *corev1.Service) { s.Labels[api.LabelManagedBy] = api.ManagedBy }

func TestSlimService(t *testing.T) {
	got, err := SlimService(service())
	require.NoError(t, err)
	assert.Equal(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "ns", UID: "1", ResourceVersion: "5"}}, got,
		"of a Service that has nothing to do with zen-lead only the name is kept")

	got, err = SlimService(service(optedIn))
	require.NoError(t, err)
	source := got.(*corev1.Service)
	assert.Equal(t, map[string]string{api.AnnotationEnabled: "true"}, source.Annotations)
	assert.Equal(t, service().Spec, source.Spec)
	assert.Empty(t, source.Labels)

	for _, made := range []*corev1.Service{service(ownedByS), service(labelled)} {
		got, err = SlimService(made)
		require.NoError(t, err)
		leader := got.(*corev1.Service)
		assert.Equal(t, made.Spec, leader.Spec)
		assert.Equal(t, made.OwnerReferences, leader.OwnerReferences)
		assert.NotContains(t, leader.Labels, "team")
	}
}

func TestTransformsAreIdempotentAndPassOthersThrough(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "x", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
	for _, row := range []struct {
		transform func(any) (any, error)
		objects   []client.Object
	}{
		{SlimService, []client.Object{service(), service(optedIn), service(ownedByS), service(labelled)}},
		{SlimSlice, []client.Object{slice, &discoveryv1.EndpointSlice{}}},
	} {
		for _, object := range row.objects {
			untouched := object.DeepCopyObject()
			once, err := row.transform(object)
			require.NoError(t, err)
			assert.Equal(t, untouched, object.DeepCopyObject(), "the input was changed")
			twice, err := row.transform(once.(client.Object).DeepCopyObject())
			require.NoError(t, err)
			assert.Equal(t, once, twice)
			assert.Empty(t, once.(client.Object).GetManagedFields())
		}
		other, err := row.transform("something else")
		require.NoError(t, err)
		assert.Equal(t, "something else", other)
	}
}

func TestCacheOptionsScope(t *testing.T) {
	assert.Empty(t, CacheOptions(nil, NewStore()).DefaultNamespaces, "every namespace")
	options := CacheOptions([]string{"a", "b"}, NewStore())
	assert.Len(t, options.DefaultNamespaces, 2)
	assert.True(t, options.ReaderFailOnMissingInformer)
	assert.NotNil(t, options.NewInformer, "pods could not be read")
}

func reader(t *testing.T, objects ...client.Object) (client.Reader, *Selectors) {
	t.Helper()
	selectors := NewSelectors()
	for _, object := range objects {
		object.SetManagedFields(nil) // the fake client checks them
		selectors.keys(object)       // a cache asks when it stores an object, the fake client when it is asked
	}
	builder := fake.NewClientBuilder().WithObjects(objects...)
	require.NoError(t, AddIndexes(t.Context(), indexers{builder}, selectors))
	return builder.Build(), selectors
}

// indexers adds indexes to a fake client as AddIndexes adds them to a cache.
type indexers struct{ builder *fake.ClientBuilder }

func (i indexers) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.builder.WithIndex(object, field, extract)
	return nil
}

func TestSelectorsFindTheServicesOfAPod(t *testing.T) {
	named := func(name string, selector map[string]string, mods ...func(*corev1.Service)) *corev1.Service {
		s := service(mods...)
		s.Name, s.UID, s.Spec.Selector = name, "", selector
		return s
	}
	r, selectors := reader(t,
		named("match", map[string]string{"app": "web", "tier": "front"}, optedIn),
		named("match-too", map[string]string{"tier": "front"}, optedIn),
		named("other-value", map[string]string{"app": "db"}, optedIn),
		named("partial", map[string]string{"app": "web", "tier": "back"}, optedIn),
		named("plain", map[string]string{"app": "web"}),
		named("no-selector", nil, optedIn),
	)
	services, err := selectors.Selecting(t.Context(), r, "ns", map[string]string{"app": "web", "tier": "front", "hash": "1"})
	require.NoError(t, err)
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	assert.ElementsMatch(t, []string{"match", "match-too"}, names)

	services, err = selectors.Selecting(t.Context(), r, "elsewhere", map[string]string{"app": "web", "tier": "front"})
	require.NoError(t, err)
	assert.Empty(t, services)
}

func TestServicesWanting(t *testing.T) {
	named := func(name, leader string, mods ...func(*corev1.Service)) *corev1.Service {
		s := service(mods...)
		s.Name = name
		if leader != "" {
			s.Annotations[api.AnnotationLeaderServiceName] = leader
		}
		return s
	}
	says := func(optIn string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Annotations[api.AnnotationEnabled] = optIn }
	}
	elsewhere := named("alien", "s-leader", optedIn)
	elsewhere.Namespace = "other"
	long := strings.Repeat("x", 60)
	r, _ := reader(t, service(optedIn), named("c", "s-leader", optedIn), named("other", "elsewhere", optedIn), named("plain", ""), elsewhere,
		named("spelt", "spelt-leader", optedIn), named("wrong", "No Name", optedIn), named(long, "", optedIn),
		named("out", "", says("false")), named("out-too", "elsewhere", says("false")), named("maybe", "", says("maybe")))
	for name, want := range map[string][]string{
		"s-leader": {"c", "s"}, "elsewhere": {"other"}, "other-leader": nil, "plain-leader": nil, "absent-leader": nil, "s": nil, "-leader": nil,
		"spelt-leader": {"spelt"}, "wrong-leader": {"wrong"}, long + "-leader": {long}, "out-leader": nil, "maybe-leader": {"maybe"}, "No Name": nil,
	} {
		services, err := ServicesWanting(t.Context(), r, "ns", name)
		require.NoError(t, err)
		var names []string
		for _, s := range services {
			names = append(names, s.Name)
		}
		slices.Sort(names)
		assert.Equal(t, want, names, name)
	}
}

func TestSelectedPodsOfAnEmptySelectorAreNone(t *testing.T) {
	r, _ := reader(t)
	pods, err := SelectedPods(t.Context(), r, service(func(s *corev1.Service) { s.Spec.Selector = nil }))
	require.NoError(t, err)
	assert.Empty(t, pods)
}

func TestWatchedAreTheKindsOfTheCache(t *testing.T) {
	options := CacheOptions(nil, NewStore())
	var transformed, watched []string
	for object := range options.ByObject {
		transformed = append(transformed, fmt.Sprintf("%T", object))
	}
	for _, object := range Watched() {
		kinds, _, err := options.Scheme.ObjectKinds(object)
		require.NoError(t, err)
		assert.Len(t, kinds, 1)
		watched = append(watched, fmt.Sprintf("%T", object))
	}
	assert.ElementsMatch(t, append(transformed, "*informers.Pod"), watched, "pods are small as they are decoded, the others afterwards")
}
