package simulation

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/informers"
)

// namespace is the only one.
const namespace = "ns"

type kind int

const (
	pods kind = iota
	services
	endpointSlices
	kinds // their number
)

func (k kind) String() string { return [...]string{"pods", "Services", "slices"}[k] }

func (k kind) resource() schema.GroupResource {
	return [...]schema.GroupResource{{Resource: "pods"}, {Resource: "services"}, {Group: "discovery.k8s.io", Resource: "endpointslices"}}[k]
}

func kindOf(object any) kind {
	switch object.(type) {
	case *corev1.Pod, *corev1.PodList, *informers.Pod:
		return pods
	case *corev1.Service, *corev1.ServiceList:
		return services
	case *discoveryv1.EndpointSlice, *discoveryv1.EndpointSliceList:
		return endpointSlices
	}
	panic(fmt.Sprintf("the director asks for a %T, which it has no right to", object))
}

// server is the API server: what there is, everything that ever changed, and what it refuses. Objects that it holds or
// hands out by its log are never changed.
type server struct {
	now     func() time.Time
	objects [kinds]map[string]client.Object
	log     [kinds][]change
	version int64
	born    int
}

// change is one event of a watch.
type change struct {
	object  client.Object
	deleted bool
}

func newServer(now func() time.Time) *server {
	s := &server{now: now}
	for k := range s.objects {
		s.objects[k] = make(map[string]client.Object)
	}
	return s
}

func (s *server) create(sent client.Object) (client.Object, error) {
	k, object := kindOf(sent), clone(sent)
	if object.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if s.objects[k][object.GetName()] != nil {
		return nil, apierrors.NewAlreadyExists(k.resource(), object.GetName())
	}
	s.born++
	object.SetNamespace(namespace)
	object.SetUID(types.UID(fmt.Sprintf("%s#%d", object.GetName(), s.born)))
	object.SetCreationTimestamp(metav1.NewTime(s.now().Truncate(time.Second)))
	complete(object, s.born)
	if err := validate(object); err != nil {
		return nil, err
	}
	return s.commit(object), nil
}

// update replaces an object. As in Kubernetes, a resourceVersion is not compelled: whoever leaves it out overwrites.
func (s *server) update(sent client.Object) (client.Object, error) {
	k, name := kindOf(sent), sent.GetName()
	have := s.objects[k][name]
	switch {
	case have == nil:
		return nil, apierrors.NewNotFound(k.resource(), name)
	case sent.GetUID() != "" && sent.GetUID() != have.GetUID():
		return nil, apierrors.NewConflict(k.resource(), name, fmt.Errorf("the UID is %s", have.GetUID()))
	case sent.GetResourceVersion() != "" && sent.GetResourceVersion() != have.GetResourceVersion():
		return nil, apierrors.NewConflict(k.resource(), name, fmt.Errorf("the object has been modified"))
	}
	object := clone(sent)
	object.SetUID(have.GetUID())
	object.SetCreationTimestamp(have.GetCreationTimestamp())
	object.SetDeletionTimestamp(have.GetDeletionTimestamp())
	object.SetResourceVersion(have.GetResourceVersion())
	complete(object, 0)
	if err := validate(object); err != nil {
		return nil, err
	}
	if err := validateUpdate(have, object); err != nil {
		return nil, err
	}
	if equality.Semantic.DeepEqual(have, object) {
		return have, nil
	}
	return s.commit(object), nil
}

// patch applies a JSON merge patch to a Service.
func (s *server) patch(name string, patch []byte) (client.Object, error) {
	have := s.objects[services][name]
	if have == nil {
		return nil, apierrors.NewNotFound(services.resource(), name)
	}
	raw, err := json.Marshal(have)
	if err != nil {
		return nil, err
	}
	var target, changes map[string]any
	if err := json.Unmarshal(raw, &target); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(merge(target, changes)); err != nil {
		return nil, err
	}
	var patched corev1.Service
	if err := json.Unmarshal(raw, &patched); err != nil {
		return nil, err
	}
	return s.update(&patched)
}

// merge is RFC 7386.
func merge(target, patch map[string]any) map[string]any {
	if target == nil {
		target = make(map[string]any)
	}
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(target, key)
		case map[string]any:
			inner, _ := target[key].(map[string]any)
			target[key] = merge(inner, value)
		default:
			target[key] = value
		}
	}
	return target
}

// delete removes an object, or begins to if a finalizer holds it.
func (s *server) delete(k kind, name string, uid *types.UID) error {
	have := s.objects[k][name]
	switch {
	case have == nil:
		return apierrors.NewNotFound(k.resource(), name)
	case uid != nil && *uid != have.GetUID():
		return apierrors.NewConflict(k.resource(), name, fmt.Errorf("the UID is %s", have.GetUID()))
	case len(have.GetFinalizers()) > 0:
		object := clone(have)
		object.SetDeletionTimestamp(ptr.To(metav1.NewTime(s.now())))
		s.commit(object)
		return nil
	}
	object := clone(have)
	object.SetResourceVersion(s.next())
	delete(s.objects[k], name)
	s.log[k] = append(s.log[k], change{object: object, deleted: true})
	return nil
}

// edit is what a user or the kubelet does: read, change, write.
func (s *server) edit(k kind, name string, do func(client.Object)) error {
	object := clone(s.objects[k][name])
	do(object)
	_, err := s.update(object)
	return err
}

func (s *server) next() string {
	s.version++
	return strconv.FormatInt(s.version, 10)
}

func (s *server) commit(object client.Object) client.Object {
	k := kindOf(object)
	object.SetResourceVersion(s.next())
	s.objects[k][object.GetName()] = object
	s.log[k] = append(s.log[k], change{object: clone(object)})
	return object
}

// garbage are the objects whose controller does not exist any more, sorted.
func (s *server) garbage() []client.Object {
	alive := make(map[types.UID]bool)
	for _, service := range s.objects[services] {
		alive[service.GetUID()] = true
	}
	var found []client.Object
	for _, k := range []kind{services, endpointSlices} {
		for _, name := range sortedNames(s.objects[k]) {
			owner := metav1.GetControllerOfNoCopy(s.objects[k][name])
			if owner != nil && owner.Kind == "Service" && !alive[owner.UID] {
				found = append(found, s.objects[k][name])
			}
		}
	}
	return found
}

func (s *server) service(name string) *corev1.Service {
	service, _ := s.objects[services][name].(*corev1.Service)
	return service
}

func (s *server) slice(name string) *discoveryv1.EndpointSlice {
	slice, _ := s.objects[endpointSlices][name].(*discoveryv1.EndpointSlice)
	return slice
}

func (s *server) pod(name string) *corev1.Pod {
	pod, _ := s.objects[pods][name].(*corev1.Pod)
	return pod
}

func clone(object client.Object) client.Object { return object.DeepCopyObject().(client.Object) }

// complete fills in what the API server defaults.
func complete(object client.Object, number int) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return
	}
	spec := &service.Spec
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		if spec.Ports[i].Protocol == "" {
			spec.Ports[i].Protocol = corev1.ProtocolTCP
		}
		if spec.Ports[i].TargetPort == (intstr.IntOrString{}) {
			spec.Ports[i].TargetPort = intstr.FromInt32(spec.Ports[i].Port)
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	if spec.InternalTrafficPolicy == nil {
		spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
	if spec.ClusterIP == "" && number > 0 {
		spec.ClusterIP = fmt.Sprintf("10.0.0.%d", number)
	}
}

func invalid(object client.Object, path, why string) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: kindOf(object).String()}, object.GetName(),
		field.ErrorList{field.Invalid(field.NewPath(path), object.GetName(), why)})
}

func validate(object client.Object) error {
	switch object := object.(type) {
	case *corev1.Service:
		return validateService(object)
	case *discoveryv1.EndpointSlice:
		return validateSlice(object)
	}
	return nil
}

func validateService(service *corev1.Service) error {
	spec := &service.Spec
	switch {
	case len(validation.IsDNS1035Label(service.Name)) > 0:
		return invalid(service, "metadata.name", "is no DNS label")
	case spec.Type == corev1.ServiceTypeExternalName:
		return nil
	case len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone:
		return invalid(service, "spec.ports", "is required")
	case *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) > 1:
		return invalid(service, "spec.ipFamilies", "may have one entry")
	}
	for _, port := range spec.Ports {
		if port.Name == "" && len(spec.Ports) > 1 || port.Port < 1 || port.Port > 65535 {
			return invalid(service, "spec.ports", "has a port without a name or number")
		}
	}
	return nil
}

func validateSlice(slice *discoveryv1.EndpointSlice) error {
	if slice.AddressType != discoveryv1.AddressTypeIPv4 && slice.AddressType != discoveryv1.AddressTypeIPv6 {
		return invalid(slice, "addressType", "is not supported")
	}
	for _, endpoint := range slice.Endpoints {
		if len(endpoint.Addresses) == 0 {
			return invalid(slice, "endpoints.addresses", "is required")
		}
		for _, address := range endpoint.Addresses {
			ip, err := netip.ParseAddr(address)
			if err != nil || ip.Is4() != (slice.AddressType == discoveryv1.AddressTypeIPv4) {
				return invalid(slice, "endpoints.addresses", "is no address of the slice's type")
			}
		}
	}
	for _, port := range slice.Ports {
		if port.Port == nil || *port.Port < 1 || *port.Port > 65535 {
			return invalid(slice, "ports", "has a port without a number")
		}
	}
	return nil
}

func validateUpdate(have, object client.Object) error {
	switch object := object.(type) {
	case *corev1.Service:
		before, after := have.(*corev1.Service).Spec, object.Spec
		if before.Type == after.Type && before.ClusterIP != after.ClusterIP {
			return invalid(object, "spec.clusterIP", "may not change once set")
		}
		if len(before.IPFamilies) > 0 && len(after.IPFamilies) > 0 && before.IPFamilies[0] != after.IPFamilies[0] {
			return invalid(object, "spec.ipFamilies[0]", "may not change")
		}
	case *discoveryv1.EndpointSlice:
		if have.(*discoveryv1.EndpointSlice).AddressType != object.AddressType {
			return invalid(object, "addressType", "is immutable")
		}
	}
	return nil
}
