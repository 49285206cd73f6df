package micro

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/informers"
)

// crowd is one namespace with opted-in Services, three pods each, in the controller's own cache: the real thing, but for
// the connection, which is replaced by fixed lists.
func crowd(tb testing.TB, services int, release string, selectors *informers.Selectors) client.Client {
	tb.Helper()
	var serviceList corev1.ServiceList
	var podList informers.PodList
	for i := range services {
		serviceList.Items = append(serviceList.Items, *makeService(i, release))
		for replica := range 3 {
			podList.Items = append(podList.Items, *informers.NewPod(makePod(i, replica, release)))
		}
	}
	store := informers.NewStore()
	options := informers.CacheOptions(nil, store)
	options.HTTPClient = http.DefaultClient
	options.Mapper = meta.NewDefaultRESTMapper(nil)
	mapper := options.Mapper.(*meta.DefaultRESTMapper)
	for _, kind := range []string{"Pod", "Service"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	mapper.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	newInformer := options.NewInformer
	options.NewInformer = func(_ toolscache.ListerWatcher, o runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		return newInformer(fixed(o, &serviceList, &podList), o, resync, indexers)
	}
	c, err := cache.New(&rest.Config{}, options)
	if err != nil {
		tb.Fatal(err)
	}
	if err := informers.AddIndexes(tb.Context(), store, selectors); err != nil {
		tb.Fatal(err)
	}
	for _, object := range informers.Watched() {
		if _, err := c.GetInformer(tb.Context(), object, cache.BlockUntilSynced(false)); err != nil {
			tb.Fatal(err)
		}
	}
	go func() {
		if err := c.Start(tb.Context()); err != nil {
			tb.Error(err)
		}
	}()
	if !c.WaitForCacheSync(tb.Context()) {
		tb.Fatal("the cache did not fill")
	}
	return store.Client(nil)
}

// listOnly is a source that can be listed and never changes. It says that its watches cannot bring the list.
type listOnly struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is asked by client-go's reflector.
func (listOnly) IsWatchListSemanticsUnSupported() bool { return true }

func fixed(o runtime.Object, services *corev1.ServiceList, pods *informers.PodList) toolscache.ListerWatcher {
	return listOnly{&toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			switch o.(type) {
			case *informers.Pod:
				return pods, nil
			case *corev1.Service:
				return services, nil
			}
			return &discoveryv1.EndpointSliceList{}, nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
	}}
}

// kinds are the ways in which the selectors of a namespace can be alike.
func kinds() map[string]string {
	return map[string]string{"apart": "", "release": "a-release-with-many-parts"}
}

// BenchmarkPodToServices looks up the Services of a pod.
func BenchmarkPodToServices(b *testing.B) {
	for kind, release := range kinds() {
		for _, services := range []int{25, 2500} {
			selectors := informers.NewSelectors()
			c := crowd(b, services, release, selectors)
			podLabels := labels.Set(makePod(7, 0, release).Labels)
			b.Run(fmt.Sprintf("%s-%d", kind, services), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if found, err := selectors.Selecting(b.Context(), c, namespace, podLabels); err != nil || len(found) != 1 {
						b.Fatal(len(found), err)
					}
				}
			})
		}
	}
}

// BenchmarkServiceToPods looks up the pods of a Service.
func BenchmarkServiceToPods(b *testing.B) {
	for _, services := range []int{25, 2500} {
		c := crowd(b, services, "", informers.NewSelectors())
		service := makeService(7, "")
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if found, err := informers.SelectedPods(b.Context(), c, service); err != nil || len(found) != 3 {
					b.Fatal(len(found), err)
				}
			}
		})
	}
}

// What the benchmarks look up is there, and is found without more allocations than now.
func TestLookupBudgets(t *testing.T) {
	for kind, release := range kinds() {
		selectors := informers.NewSelectors()
		c := crowd(t, 25, release, selectors)
		service, podLabels := makeService(7, release), labels.Set(makePod(7, 0, release).Labels)
		for what, lookup := range map[string]struct {
			budget float64
			run    func()
		}{
			"the Services of a pod": {22, func() {
				if found, err := selectors.Selecting(t.Context(), c, namespace, podLabels); err != nil || len(found) != 1 {
					t.Error(len(found), err)
				}
			}},
			"the pods of a Service": {45, func() {
				if found, err := informers.SelectedPods(t.Context(), c, service); err != nil || len(found) != 3 {
					t.Error(len(found), err)
				}
			}},
		} {
			if got := testing.AllocsPerRun(100, lookup.run); got > lookup.budget {
				t.Errorf("%s (%s): %.0f allocations, budget %.0f", what, kind, got, lookup.budget)
			}
		}
	}
}
