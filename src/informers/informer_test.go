package informers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
	"pgregory.net/rapid"
)

// listener writes down what it hears, in words.
type listener struct {
	mu    sync.Mutex
	heard []string
	// indexer is looked into at each event, if there is one.
	indexer toolscache.Indexer
	objects map[string]string
}

func (l *listener) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, fmt.Sprintf(format, args...))
}

func (l *listener) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	heard := l.heard
	l.heard = nil
	return heard
}

func (l *listener) OnAdd(object any, initially bool) {
	pod := object.(*Pod)
	l.see(pod)
	if initially {
		l.note("there is %s at %s", pod.Name, pod.ResourceVersion)
	} else {
		l.note("new %s at %s", pod.Name, pod.ResourceVersion)
	}
}

func (l *listener) OnUpdate(before, after any) {
	l.see(after.(*Pod))
	l.note("%s from %s to %s", after.(*Pod).Name, before.(*Pod).ResourceVersion, after.(*Pod).ResourceVersion)
}

func (l *listener) OnDelete(object any) {
	if tombstone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		l.forget(tombstone.Obj.(*Pod))
		l.note("missed the end of %s, last at %s", tombstone.Key, tombstone.Obj.(*Pod).ResourceVersion)
		return
	}
	l.forget(object.(*Pod))
	l.note("gone %s at %s", object.(*Pod).Name, object.(*Pod).ResourceVersion)
}

func (l *listener) see(pod *Pod) {
	if l.indexer == nil {
		return
	}
	l.objects[pod.Name] = pod.ResourceVersion
	if stored, ok, _ := l.indexer.GetByKey("ns/" + pod.Name); !ok || stored != any(pod) {
		l.note("heard of %s before it was stored", pod.Name)
	}
}

func (l *listener) forget(pod *Pod) {
	if l.indexer == nil {
		return
	}
	delete(l.objects, pod.Name)
	if _, ok, _ := l.indexer.GetByKey("ns/" + pod.Name); ok {
		l.note("heard of the end of %s before it was removed", pod.Name)
	}
}

func podAt(name string, version int) *Pod {
	return NewPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: strconv.Itoa(version)}})
}

func podInformer(t require.TestingT, source toolscache.ListerWatcher, resync time.Duration) *informer {
	i := newInformer(source, &Pod{}, resync, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	require.NoError(t, i.SetTransform(func(object any) (any, error) { return object, nil }))
	return i
}

func TestAnInformerTellsOfWhatTheWatchBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := cachetesting.NewFakeControllerSource()
		defer source.Shutdown()
		source.Add(podAt("a", 1))
		i := podInformer(t, source, 0)
		early, late, removed := &listener{}, &listener{}, &listener{}
		registered, err := i.AddEventHandler(early)
		require.NoError(t, err)
		handle, err := i.AddEventHandlerWithResyncPeriod(removed, time.Hour)
		require.NoError(t, err)
		require.NoError(t, i.RemoveEventHandler(handle))
		assert.False(t, i.HasSynced())
		assert.False(t, registered.HasSynced())
		assert.Empty(t, i.LastSyncResourceVersion())

		stop := make(chan struct{})
		go i.Run(stop)
		synctest.Wait()
		assert.True(t, i.HasSynced())
		assert.True(t, registered.HasSynced())
		assert.True(t, toolscache.IsDone(registered.HasSyncedChecker()))
		assert.Equal(t, []string{"there is a at 1"}, early.take())
		first := i.LastSyncResourceVersion()

		source.Add(podAt("b", 2))
		synctest.Wait()
		_, err = i.AddEventHandler(late)
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"there is a at 1", "there is b at 2"}, late.take(), "who comes late hears of what is there")
		source.Modify(podAt("a", 3))
		source.Delete(podAt("b", 4))
		synctest.Wait()
		changes := []string{"a from 1 to 3", "gone b at 4"}
		assert.Equal(t, append([]string{"new b at 2"}, changes...), early.take())
		assert.Equal(t, changes, late.take())
		assert.Empty(t, removed.take())
		assert.NotEqual(t, first, i.LastSyncResourceVersion())
		assert.Equal(t, []string{"ns/a"}, i.GetStore().ListKeys())

		assert.False(t, i.IsStopped())
		close(stop)
		synctest.Wait()
		assert.True(t, i.IsStopped())
		_, err = i.AddEventHandler(late)
		assert.ErrorContains(t, err, "stopped")
	})
}

func TestAnInformerTellsAgainAfterTheResyncPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := cachetesting.NewFakeControllerSource()
		defer source.Shutdown()
		source.Add(podAt("a", 1))
		i := podInformer(t, source, time.Hour)
		heard := &listener{}
		_, err := i.AddEventHandler(heard)
		require.NoError(t, err)
		stop := make(chan struct{})
		defer synctest.Wait()
		defer close(stop)
		go i.Run(stop)
		synctest.Wait()
		heard.take()
		<-time.After(time.Hour + time.Second) // of the bubble's clock
		synctest.Wait()
		assert.Equal(t, []string{"a from 1 to 1"}, heard.take())
	})
}

// A list after a watch that broke brings what was missed, and nothing else.
func TestAListTellsOfWhatWasMissed(t *testing.T) {
	i := podInformer(t, nil, 0)
	heard := &listener{}
	_, err := i.AddEventHandler(heard)
	require.NoError(t, err)
	require.NoError(t, sink{i}.Replace([]any{podAt("a", 1), podAt("b", 2), podAt("c", 3)}, "3"))
	assert.Equal(t, []string{"there is a at 1", "there is b at 2", "there is c at 3"}, heard.take())
	require.NoError(t, sink{i}.Replace([]any{podAt("a", 1), podAt("b", 4), podAt("d", 5)}, "5"))
	assert.Equal(t, []string{"b from 2 to 4", "new d at 5", "missed the end of ns/c, last at 3"}, heard.take())
	require.NoError(t, sink{i}.Delete(podAt("c", 6)))
	assert.Empty(t, heard.take(), "of each end it tells once")
	assert.ElementsMatch(t, []string{"ns/a", "ns/b", "ns/d"}, i.GetIndexer().ListKeys())
}

// Whatever comes in whatever order: who listens knows what is stored, and nobody hears of anything before it is so.
func TestListenersKnowWhatIsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := podInformer(t, nil, 0)
		l := &listener{indexer: i.GetIndexer(), objects: map[string]string{}}
		_, err := i.AddEventHandler(l)
		require.NoError(t, err)
		truth := map[string]string{}
		name := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		version := 0
		next := func(t *rapid.T) *Pod {
			version++
			return podAt(name.Draw(t, "name"), version)
		}
		set := func(how func(any) error) func(*rapid.T) {
			return func(t *rapid.T) {
				pod := next(t)
				require.NoError(t, how(pod))
				truth[pod.Name] = pod.ResourceVersion
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add":    set(sink{i}.Add),
			"update": set(sink{i}.Update),
			"delete": func(t *rapid.T) {
				pod := next(t)
				require.NoError(t, sink{i}.Delete(pod))
				delete(truth, pod.Name)
			},
			"list": func(t *rapid.T) {
				truth = maps.Clone(truth)
				var list []any
				for _, key := range []string{"a", "b", "c", "d"} {
					switch rapid.SampledFrom([]string{"same", "changed", "gone"}).Draw(t, key) {
					case "changed":
						version++
						truth[key] = strconv.Itoa(version)
					case "gone":
						delete(truth, key)
					}
					if at, ok := truth[key]; ok {
						number, _ := strconv.Atoi(at)
						list = append(list, podAt(key, number))
					}
				}
				require.NoError(t, sink{i}.Replace(list, strconv.Itoa(version)))
			},
			"": func(t *rapid.T) {
				stored := map[string]string{}
				for _, object := range i.GetIndexer().List() {
					stored[object.(*Pod).Name] = object.(*Pod).ResourceVersion
				}
				assert.Equal(t, truth, stored)
				assert.Equal(t, truth, l.objects)
				assert.False(t, slices.ContainsFunc(l.take(), func(s string) bool { return len(s) > 5 && s[:5] == "heard" }))
			},
		})
	})
}

// A list that cannot be stored to its end counts for nothing until the next one has been.
func TestAListThatBreaksOffIsBegunAgain(t *testing.T) {
	i := podInformer(t, nil, 0)
	heard := &listener{}
	_, err := i.AddEventHandler(heard)
	require.NoError(t, err)
	broken := errors.New("broken")
	require.NoError(t, i.SetTransform(func(object any) (any, error) {
		if object.(*Pod).Name == "b" {
			return nil, broken
		}
		return object, nil
	}))
	assert.ErrorIs(t, sink{i}.Replace([]any{podAt("a", 1), podAt("b", 2), podAt("c", 3)}, "3"), broken)
	assert.False(t, i.HasSynced())
	require.NoError(t, i.SetTransform(func(object any) (any, error) { return object, nil }))
	require.NoError(t, sink{i}.Replace([]any{podAt("b", 2), podAt("c", 3)}, "4"))
	assert.True(t, i.HasSynced())
	assert.Equal(t, []string{"there is a at 1", "there is b at 2", "there is c at 3", "missed the end of ns/a, last at 1"}, heard.take())
}

// After etcd was restored from a backup, versions are given out once more.
func TestAnotherObjectOfTheSameVersionIsNews(t *testing.T) {
	i := podInformer(t, nil, 0)
	heard := &listener{}
	_, err := i.AddEventHandler(heard)
	require.NoError(t, err)
	require.NoError(t, sink{i}.Replace([]any{podAt("a", 1)}, "1"))
	heard.take()
	other := podAt("a", 1)
	other.UID = "other"
	require.NoError(t, sink{i}.Replace([]any{other}, "1"))
	assert.Equal(t, []string{"a from 1 to 1"}, heard.take())
	same := podAt("a", 1)
	same.UID = "other"
	require.NoError(t, sink{i}.Replace([]any{same}, "1"))
	assert.Empty(t, heard.take())
	assert.Same(t, same, i.GetIndexer().List()[0], "what is stored is the latest all the same")
}

// Handlers may come while events do; each hears of each object.
func TestHandlersAreAddedWhileEventsCome(t *testing.T) {
	i := podInformer(t, nil, 0)
	var writer sync.WaitGroup
	writer.Go(func() {
		var list []any
		for n := range 200 {
			list = append(list, podAt(strconv.Itoa(n), n))
			if n%50 == 0 {
				assert.NoError(t, sink{i}.Replace(list, strconv.Itoa(n)))
			}
			assert.NoError(t, sink{i}.Add(list[n]))
			assert.NoError(t, sink{i}.Resync())
		}
	})
	var listeners []*listener
	for range 20 {
		l := &listener{indexer: i.GetIndexer(), objects: map[string]string{}}
		_, err := i.AddEventHandler(l)
		require.NoError(t, err)
		listeners = append(listeners, l)
	}
	writer.Wait()
	for _, l := range listeners {
		assert.Len(t, l.objects, 200)
		news := slices.DeleteFunc(l.take(), func(s string) bool { return !strings.HasPrefix(s, "new ") && !strings.HasPrefix(s, "there is ") })
		assert.Len(t, news, 200, "of each once")
	}
}

// tries counts what a reflector does within some minutes of a bubble's clock.
func tries(t *testing.T, minutes int, list, watches error) (lists, watched int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := podInformer(t, listOnly{&toolscache.ListWatch{
			ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
				lists++
				return &PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, list
			},
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
				watched++
				return nil, watches
			},
		}}, 0)
		stop := make(chan struct{})
		go i.Run(stop)
		<-time.After(time.Duration(minutes) * time.Minute) // of the bubble's clock
		close(stop)
		synctest.Wait()
	})
	return lists, watched
}

// listOnly says that its watches cannot bring lists.
type listOnly struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is asked by client-go's reflector.
func (listOnly) IsWatchListSemanticsUnSupported() bool { return true }

// While the API server is away nothing is seen; once it is back, it is a matter of the next try.
func TestAnOutageIsTriedAgainSoon(t *testing.T) {
	// Of other errors client-go logs one a millisecond at most, by a clock that bubbles share.
	lists, _ := tries(t, 2, apierrors.NewResourceExpired("refused"), nil)
	assert.Greater(t, lists/2, 30, "each try is two; with client-go's own pauses it would be 7")
}

// Who may list but not watch must not list a whole cluster every few seconds.
func TestListsThatLeadNowhereAreHeldBack(t *testing.T) {
	lists, watched := tries(t, 30, nil, io.EOF)
	assert.InDelta(t, lists, watched, 1)
	assert.LessOrEqual(t, lists, 63, "three in 90 s")
	assert.GreaterOrEqual(t, lists, 40)
}

// After an outage of the API server nothing is seen until the next try.
func TestNoTryIsFarAway(t *testing.T) {
	b := backoff()
	for range 100 {
		pause := b.Step()
		assert.GreaterOrEqual(t, pause, 100*time.Millisecond)
		assert.LessOrEqual(t, pause, 4*time.Second)
	}
}
