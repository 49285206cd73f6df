package informers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Store is what is cached, read where it lies. controller-runtime's cache starts the informers and fills them; reading through
// it takes longer than everything else in a look, and each of its indexes holds everything twice.
//
// What comes out is shared and must not be changed.
type Store struct {
	mu sync.RWMutex
	// indexers are those of the informers of a kind: one, or one for each watched namespace.
	indexers map[kind][]toolscache.Indexer
	// indexes are those that each informer of a kind is to have.
	indexes map[kind]toolscache.Indexers
}

// kind is a kind of object that is cached.
type kind int

const (
	kindPod kind = iota
	kindService
	kindSlice
)

func kindOf(object runtime.Object) (kind, error) {
	switch object.(type) {
	case *Pod, *corev1.Pod, *corev1.PodList:
		return kindPod, nil
	case *corev1.Service, *corev1.ServiceList:
		return kindService, nil
	case *discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList:
		return kindSlice, nil
	}
	return 0, fmt.Errorf("%T is not cached", object)
}

// NewStore returns a Store without anything. CacheOptions makes the cache fill it.
func NewStore() *Store {
	return &Store{indexers: make(map[kind][]toolscache.Indexer), indexes: map[kind]toolscache.Indexers{
		kindPod:     {toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc},
		kindService: {},
		kindSlice:   {},
	}}
}

// newInformer makes an informer for controller-runtime's cache, and remembers where it keeps things. It has the indexes that
// are used, not those that controller-runtime would use.
func (s *Store) newInformer(source toolscache.ListerWatcher, example runtime.Object, resync time.Duration, given toolscache.Indexers) toolscache.SharedIndexInformer {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := kindOf(example)
	if err != nil { // nobody reads it here
		return newInformer(source, example, resync, given)
	}
	informer := newInformer(source, example, resync, maps.Clone(s.indexes[k]))
	s.indexers[k] = append(s.indexers[k], informer.GetIndexer())
	return informer
}

// IndexField implements client.FieldIndexer. Objects are found by namespace and value.
func (s *Store) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	k, err := kindOf(object)
	if err != nil {
		return err
	}
	index := toolscache.Indexers{field: func(object any) ([]string, error) {
		o, ok := object.(client.Object)
		if !ok {
			return nil, fmt.Errorf("%T is no object", object)
		}
		var keys []string
		for _, value := range extract(o) {
			keys = append(keys, indexKey(o.GetNamespace(), value))
		}
		return keys, nil
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.indexes[k], index)
	for _, indexer := range s.indexers[k] {
		if err := indexer.AddIndexers(index); err != nil {
			return err
		}
	}
	return nil
}

func indexKey(namespace, value string) string { return namespace + "/" + value }

// Client reads from here, and does everything else by c.
func (s *Store) Client(c client.Client) client.Client { return storeClient{Client: c, store: s} }

type storeClient struct {
	client.Client
	store *Store
}

// Get implements client.Reader.
func (c storeClient) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	k, err := kindOf(object)
	if err != nil {
		return err
	}
	stored, err := c.store.get(k, key)
	if err != nil {
		return err
	}
	switch into := object.(type) {
	case *corev1.Pod:
		stored.(*Pod).fill(into)
	case *Pod:
		*into = *stored.(*Pod)
	case *corev1.Service:
		*into = *stored.(*corev1.Service)
	case *discoveryv1.EndpointSlice:
		*into = *stored.(*discoveryv1.EndpointSlice)
	}
	return nil
}

// List implements client.Reader. Pods are found by namespace and labels, other objects by namespace and one index.
func (c storeClient) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	switch into := list.(type) {
	case *corev1.PodList:
		pods, err := c.store.pods(&o)
		into.Items = make([]corev1.Pod, len(pods))
		for i, pod := range pods {
			pod.fill(&into.Items[i])
		}
		return err
	case *corev1.ServiceList:
		objects, err := c.store.indexed(kindService, &o)
		into.Items = make([]corev1.Service, len(objects))
		for i, object := range objects {
			into.Items[i] = *object.(*corev1.Service)
		}
		return err
	case *discoveryv1.EndpointSliceList:
		objects, err := c.store.indexed(kindSlice, &o)
		into.Items = make([]discoveryv1.EndpointSlice, len(objects))
		for i, object := range objects {
			into.Items[i] = *object.(*discoveryv1.EndpointSlice)
		}
		return err
	}
	return fmt.Errorf("%T is not cached", list)
}

// watched fails if no informer of the kind was ever made: that there is nothing must not be taken for the truth then.
func (s *Store) watched(k kind) ([]toolscache.Indexer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.indexers[k]) == 0 {
		return nil, errors.New("failed to read from the cache: it does not watch what is asked for")
	}
	return s.indexers[k], nil
}

func (s *Store) get(k kind, key client.ObjectKey) (any, error) {
	indexers, err := s.watched(k)
	if err != nil {
		return nil, err
	}
	for _, indexer := range indexers {
		if object, ok, _ := indexer.GetByKey(key.String()); ok {
			return object, nil
		}
	}
	return nil, apierrors.NewNotFound([...]schema.GroupResource{
		kindPod: corev1.Resource("pods"), kindService: corev1.Resource("services"), kindSlice: discoveryv1.Resource("endpointslices"),
	}[k], key.Name)
}

// indexed are the objects with one value in one index.
func (s *Store) indexed(k kind, o *client.ListOptions) ([]any, error) {
	if o.Namespace == "" || o.LabelSelector != nil || o.FieldSelector == nil || len(o.FieldSelector.Requirements()) != 1 ||
		o.FieldSelector.Requirements()[0].Operator != selection.Equals {
		return nil, fmt.Errorf("failed to list: the cache finds what is no pod by namespace and one index, not by %+v", o)
	}
	indexers, err := s.watched(k)
	if err != nil {
		return nil, err
	}
	by := o.FieldSelector.Requirements()[0]
	var found []any
	for _, indexer := range indexers {
		objects, err := indexer.ByIndex(by.Field, indexKey(o.Namespace, by.Value))
		if err != nil {
			return nil, fmt.Errorf("failed to list by index %s: %w", by.Field, err)
		}
		found = append(found, objects...)
	}
	return found, nil
}

// pods are those of a namespace with certain labels.
func (s *Store) pods(o *client.ListOptions) ([]*Pod, error) {
	if o.Namespace == "" || o.LabelSelector == nil || o.FieldSelector != nil {
		return nil, fmt.Errorf("failed to list pods: the cache finds them by namespace and labels, not by %+v", o)
	}
	indexers, err := s.watched(kindPod)
	if err != nil {
		return nil, err
	}
	var selected []*Pod
	for _, indexer := range indexers {
		objects, err := indexer.ByIndex(toolscache.NamespaceIndex, o.Namespace)
		if err != nil {
			return nil, fmt.Errorf("failed to list pods of namespace %s: %w", o.Namespace, err)
		}
		for _, object := range objects {
			if pod := object.(*Pod); o.LabelSelector.Matches(labelsOf{pod.labels}) {
				selected = append(selected, pod)
			}
		}
	}
	return selected, nil
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
