package informers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pods are the cached pods. controller-runtime's cache fills its informers with them, but reads only what is of
// the type that it asked the API server for.
type Pods struct {
	mu sync.RWMutex
	// indexers are those of the informers of pods: one, or one for each watched namespace.
	indexers []toolscache.Indexer
}

// NewPods returns Pods without any. CacheOptions makes the cache fill them.
func NewPods() *Pods { return &Pods{} }

// newInformer makes an informer as controller-runtime does by itself, and remembers where those of pods keep them.
func (p *Pods) newInformer(source toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	informer := toolscache.NewSharedIndexInformer(source, example, resync, indexers)
	if _, ok := example.(*corev1.Pod); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.indexers = append(p.indexers, informer.GetIndexer())
	}
	return informer
}

// Client reads pods from here and does everything else by c.
func (p *Pods) Client(c client.Client) client.Client { return podClient{Client: c, pods: p} }

type podClient struct {
	client.Client
	pods *Pods
}

// Get implements client.Reader.
func (c podClient) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	into, ok := object.(*corev1.Pod)
	if !ok {
		return c.Client.Get(ctx, key, object, options...)
	}
	pod, err := c.pods.get(key)
	if err == nil {
		pod.fill(into)
	}
	return err
}

// List implements client.Reader. Pods are found by namespace and labels.
func (c podClient) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	into, ok := list.(*corev1.PodList)
	if !ok {
		return c.Client.List(ctx, list, options...)
	}
	var o client.ListOptions
	o.ApplyOptions(options)
	if o.Namespace == "" || o.LabelSelector == nil || o.FieldSelector != nil {
		return fmt.Errorf("failed to list pods: the cache finds them by namespace and labels, not by %+v", o)
	}
	pods, err := c.pods.selected(o.Namespace, o.LabelSelector)
	if err != nil {
		return err
	}
	into.Items = make([]corev1.Pod, len(pods))
	for i, pod := range pods {
		pod.fill(&into.Items[i])
	}
	return nil
}

// watched fails if no informer of pods was ever made: that there are no pods must not be taken for the truth then.
func (p *Pods) watched() ([]toolscache.Indexer, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.indexers) == 0 {
		return nil, errors.New("failed to read pods from the cache: it does not watch them")
	}
	return p.indexers, nil
}

func (p *Pods) get(key client.ObjectKey) (*Pod, error) {
	indexers, err := p.watched()
	if err != nil {
		return nil, err
	}
	for _, indexer := range indexers {
		if object, ok, _ := indexer.GetByKey(key.String()); ok {
			return asPod(object)
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("pods"), key.Name)
}

func (p *Pods) selected(namespace string, selector labels.Selector) ([]*Pod, error) {
	indexers, err := p.watched()
	if err != nil {
		return nil, err
	}
	var selected []*Pod
	for _, indexer := range indexers {
		objects, err := indexer.ByIndex(toolscache.NamespaceIndex, namespace)
		if err != nil {
			return nil, fmt.Errorf("failed to list pods of namespace %s: %w", namespace, err)
		}
		for _, object := range objects {
			pod, err := asPod(object)
			if err != nil {
				return nil, err
			}
			if selector.Matches(labelsOf{pod.labels}) {
				selected = append(selected, pod)
			}
		}
	}
	return selected, nil
}

func asPod(object any) (*Pod, error) {
	pod, ok := object.(*Pod)
	if !ok {
		return nil, fmt.Errorf("failed to read a pod from the cache: it holds a %T", object)
	}
	return pod, nil
}

// labelsOf are labels that are looked up without a map.
type labelsOf struct{ texts }

// Has implements labels.Labels.
func (l labelsOf) Has(label string) bool { _, ok := l.Lookup(label); return ok }

// Get implements labels.Labels.
func (l labelsOf) Get(label string) string { value, _ := l.Lookup(label); return value }

// Lookup implements labels.Labels.
func (l labelsOf) Lookup(label string) (value string, exists bool) {
	isKey, found := true, false
	for text := range l.all() {
		if found {
			return text, true
		}
		found = isKey && text == label
		isKey = !isKey
	}
	return "", false
}
