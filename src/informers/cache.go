// Package informers says what the controller watches, how much of it stays in memory, and how it is looked up.
package informers

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

// CacheOptions are those of the only cache. namespaces are the namespaces to watch, none for all. What the cache holds is
// read from the given Store.
func CacheOptions(namespaces []string, store *Store) cache.Options {
	options := cache.Options{
		ReaderFailOnMissingInformer: true,
		NewInformer:                 store.newInformer,
		Scheme:                      newScheme(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {Transform: SlimService},
			&discoveryv1.EndpointSlice{}: {
				Transform: SlimSlice,
				Label:     labels.SelectorFromSet(labels.Set{discoveryv1.LabelManagedBy: api.ManagedBy}),
			},
		},
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = make(map[string]cache.Config, len(namespaces))
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// newScheme says what the cache decodes: pods into a type of our own.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &Pod{}, &PodList{}, &corev1.Service{}, &corev1.ServiceList{})
	scheme.AddKnownTypes(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(scheme, discoveryv1.SchemeGroupVersion)
	return scheme
}

// Watched are the kinds that the cache holds.
func Watched() []client.Object {
	return []client.Object{&Pod{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}}
}

// The indexes of the cache.
const (
	// indexSelector holds the Services that mention zen-lead under their selector: see Selectors.
	indexSelector = "zen-lead/selector"
	// indexLeaderName holds the Services that mention zen-lead under the name that their leader Service is to have, if that
	// is not the default, which tells the Service's name by itself.
	indexLeaderName = "zen-lead/leader-name"
	// indexOwner holds the objects that zen-lead made under the UID of their source Service.
	indexOwner = "zen-lead/owner"
)

// AddIndexes registers the indexes that the lookups below need.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer, selectors *Selectors) error {
	for _, index := range []struct {
		object  client.Object
		field   string
		extract client.IndexerFunc
	}{
		{&corev1.Service{}, indexSelector, selectors.keys},
		{&corev1.Service{}, indexLeaderName, leaderNameKeys},
		{&corev1.Service{}, indexOwner, ownerKeys},
		{&discoveryv1.EndpointSlice{}, indexOwner, ownerKeys},
	} {
		if err := indexer.IndexField(ctx, index.object, index.field, index.extract); err != nil {
			return fmt.Errorf("failed to add index %s of %T: %w", index.field, index.object, err)
		}
	}
	return nil
}

// ServicesWanting are the Services that mention zen-lead and whose leader Service is to have the name.
func ServicesWanting(ctx context.Context, reader client.Reader, namespace, leaderServiceName string) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	err := reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexLeaderName: leaderServiceName})
	if err != nil {
		return nil, fmt.Errorf("failed to look up Services of namespace %s by leader Service %s: %w", namespace, leaderServiceName, err)
	}
	wanting := pointers(list.Items)
	byDefault, ok := strings.CutSuffix(leaderServiceName, api.LeaderSuffix)
	if !ok {
		return wanting, nil
	}
	var source corev1.Service
	err = reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: byDefault}, &source)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, fmt.Errorf("failed to get Service %s/%s: %w", namespace, byDefault, err)
	case err == nil && api.Mentioned(source.Annotations) && leaderName(&source) == leaderServiceName:
		wanting = append(wanting, &source)
	}
	return wanting, nil
}

// SelectedPods are the pods that the source Service selects. An empty selector selects none, as everywhere in
// Kubernetes but in package labels.
func SelectedPods(ctx context.Context, reader client.Reader, source *corev1.Service) ([]*corev1.Pod, error) {
	if len(source.Spec.Selector) == 0 {
		return nil, nil
	}
	var list corev1.PodList
	err := reader.List(ctx, &list, client.InNamespace(source.Namespace), client.MatchingLabels(source.Spec.Selector))
	if err != nil {
		return nil, fmt.Errorf("failed to list pods of Service %s/%s: %w", source.Namespace, source.Name, err)
	}
	return pointers(list.Items), nil
}

// OwnedBy are the Services and slices that the source Service controls.
func OwnedBy(ctx context.Context, reader client.Reader, source *corev1.Service) ([]*corev1.Service, []*discoveryv1.EndpointSlice, error) {
	owner := client.MatchingFields{indexOwner: string(source.UID)}
	var services corev1.ServiceList
	if err := reader.List(ctx, &services, client.InNamespace(source.Namespace), owner); err != nil {
		return nil, nil, fmt.Errorf("failed to look up leader Services of Service %s/%s: %w", source.Namespace, source.Name, err)
	}
	var slices discoveryv1.EndpointSliceList
	if err := reader.List(ctx, &slices, client.InNamespace(source.Namespace), owner); err != nil {
		return nil, nil, fmt.Errorf("failed to look up leader slices of Service %s/%s: %w", source.Namespace, source.Name, err)
	}
	return pointers(services.Items), pointers(slices.Items), nil
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}

// leaderNameKeys files a Service under a name of its leader Service that is not the default.
func leaderNameKeys(object client.Object) []string {
	service, ok := object.(*corev1.Service)
	if !ok || !api.Mentioned(service.Annotations) {
		return nil
	}
	name := leaderName(service)
	if name == service.Name+api.LeaderSuffix {
		return nil
	}
	return []string{name}
}

// leaderName is what the leader Service is to be called. The fleet's defaults have no part in that.
func leaderName(source *corev1.Service) string {
	settings, _ := api.ParseSettings(source.Name, source.Annotations, api.Defaults{})
	return settings.LeaderServiceName
}

func ownerKeys(object client.Object) []string {
	if service, ok := object.(*corev1.Service); ok && !Made(service) {
		return nil
	}
	owner := routing.OwnerService(object)
	if owner == nil {
		return nil
	}
	return []string{string(owner.UID)}
}
