package informers

import (
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/routing"
)

// Pod is a pod as the cache holds it: what election and routing read of it, and no more. Pods are most of what is
// cached, and a corev1.Pod takes 1.3 kB before it says anything; this takes 350 bytes, and what the pods of one workload
// have in common is kept once for all of them. Whoever reads a pod gets a corev1.Pod back: see Pods.
//
// It is never changed.
type Pod struct {
	// ObjectMeta has neither labels nor owners, which are below.
	metav1.ObjectMeta

	namespace shared
	labels    shared
	owner     shared
	node      shared
	phase     shared
	ports     shared
	ips       []corev1.PodIP
	// ready is whether the condition Ready is true, and readySince since when it is what it is; zero without one.
	ready      bool
	readySince metav1.Time
}

// shared is a list of strings that all who have the same one share. Two of them are equal if the lists are.
type shared = unique.Handle[string]

func share(fields ...string) shared {
	var room [512]byte // enough for most, without an allocation
	packed := room[:0]
	for _, field := range fields {
		packed = binary.AppendUvarint(packed, uint64(len(field)))
		packed = append(packed, field...)
	}
	return unique.Make(string(packed))
}

// fieldsOf calls yield with each string of the list.
func fieldsOf(s shared) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for packed := s.Value(); packed != ""; {
			field, rest := cutField(packed)
			if !yield(field) {
				return
			}
			packed = rest
		}
	}
}

func cutField(packed string) (field, rest string) {
	length, shift := 0, 0
	for i := 0; ; i++ {
		length |= int(packed[i]&0x7f) << shift
		if packed[i] < 0x80 {
			return packed[i+1 : i+1+length], packed[i+1+length:]
		}
		shift += 7
	}
}

// newPod reduces a pod.
func newPod(full *corev1.Pod) *Pod {
	pod := &Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:                       full.Name,
			UID:                        full.UID,
			ResourceVersion:            full.ResourceVersion,
			CreationTimestamp:          full.CreationTimestamp,
			DeletionTimestamp:          full.DeletionTimestamp,
			DeletionGracePeriodSeconds: full.DeletionGracePeriodSeconds,
		},
		namespace: unique.Make(full.Namespace),
		labels:    shareLabels(full.Labels),
		owner:     shareOwner(metav1.GetControllerOfNoCopy(full)),
		node:      unique.Make(full.Spec.NodeName),
		phase:     unique.Make(string(full.Status.Phase)),
		ports:     sharePorts(full),
		ips:       full.Status.PodIPs,
		ready:     endpointsliceutil.IsPodReady(full),
	}
	pod.Namespace = pod.namespace.Value()
	if cost, ok := full.Annotations[routing.PodDeletionCost]; ok {
		pod.Annotations = map[string]string{routing.PodDeletionCost: cost}
	}
	for i := range full.Status.Conditions {
		if c := &full.Status.Conditions[i]; c.Type == corev1.PodReady {
			pod.readySince = c.LastTransitionTime
		}
	}
	return pod
}

func shareLabels(labels map[string]string) shared {
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	fields := make([]string, 0, 2*len(labels))
	for _, key := range keys {
		fields = append(fields, key, labels[key])
	}
	return share(fields...)
}

func shareOwner(owner *metav1.OwnerReference) shared {
	if owner == nil {
		return share()
	}
	return share(owner.Kind, owner.Name, string(owner.UID))
}

// sharePorts keeps the named ports, by which alone a Service's targetPort is looked up; of init containers, those that
// go on running.
func sharePorts(pod *corev1.Pod) shared {
	var fields []string
	add := func(c *corev1.Container, sidecar bool) {
		for i := range c.Ports {
			if port := &c.Ports[i]; port.Name != "" {
				fields = append(fields, port.Name, string(port.Protocol), strconv.Itoa(int(port.ContainerPort)), strconv.FormatBool(sidecar))
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], false)
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			add(c, true)
		}
	}
	return share(fields...)
}

// Full is the pod as Kubernetes' libraries want it, without what was left out. Its named ports are those of one container
// and one restartable init container, in the order in which they are looked up.
func (p *Pod) Full() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	pod.Labels = p.GetLabels()
	pod.OwnerReferences = p.GetOwnerReferences()
	pod.Spec.NodeName = p.node.Value()
	pod.Spec.Containers, pod.Spec.InitContainers = p.containers()
	pod.Status.Phase = corev1.PodPhase(p.phase.Value())
	pod.Status.PodIPs = p.ips
	if p.ready || !p.readySince.IsZero() {
		status := corev1.ConditionFalse
		if p.ready {
			status = corev1.ConditionTrue
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: p.readySince}}
	}
	return pod
}

func (p *Pod) containers() (containers, sidecars []corev1.Container) {
	fields := slices.Collect(fieldsOf(p.ports))
	for port := range slices.Chunk(fields, 4) {
		number, _ := strconv.ParseInt(port[2], 10, 32)
		sidecar, _ := strconv.ParseBool(port[3])
		into, policy := &containers, (*corev1.ContainerRestartPolicy)(nil)
		if sidecar {
			into, policy = &sidecars, ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		if len(*into) == 0 {
			*into = []corev1.Container{{RestartPolicy: policy}}
		}
		c := &(*into)[0]
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: port[0], Protocol: corev1.Protocol(port[1]), ContainerPort: int32(number)})
	}
	return containers, sidecars
}

// GetLabels makes a new map each time.
func (p *Pod) GetLabels() map[string]string {
	var labels map[string]string
	key, odd := "", false
	for field := range fieldsOf(p.labels) {
		switch {
		case !odd:
			key = field
		case labels == nil:
			labels = map[string]string{key: field}
		default:
			labels[key] = field
		}
		odd = !odd
	}
	return labels
}

// GetOwnerReferences has the pod's controller, or nobody.
func (p *Pod) GetOwnerReferences() []metav1.OwnerReference {
	owner := slices.Collect(fieldsOf(p.owner))
	if len(owner) == 0 {
		return nil
	}
	return []metav1.OwnerReference{{Kind: owner[0], Name: owner[1], UID: types.UID(owner[2]), Controller: ptr.To(true)}}
}

// IsReady tells whether the pod's Ready condition is true.
func (p *Pod) IsReady() bool { return p.ready }

// SamePhase tells whether both pods are in the same phase.
func (p *Pod) SamePhase(other *Pod) bool { return p.phase == other.phase }

// SameLabels tells whether both pods have the same labels.
func (p *Pod) SameLabels(other *Pod) bool { return p.labels == other.labels }

// Same tells whether nothing differs that candidates or slices are made of: every field but the resourceVersion. It is
// asked for every event of every pod.
func (p *Pod) Same(other *Pod) bool {
	return p.Name == other.Name && p.UID == other.UID && p.namespace == other.namespace &&
		p.labels == other.labels && p.owner == other.owner && p.node == other.node && p.phase == other.phase && p.ports == other.ports &&
		p.ready == other.ready && p.readySince.Equal(&other.readySince) && slices.Equal(p.ips, other.ips) &&
		p.CreationTimestamp.Equal(&other.CreationTimestamp) && p.DeletionTimestamp.Equal(other.DeletionTimestamp) &&
		ptr.Equal(p.DeletionGracePeriodSeconds, other.DeletionGracePeriodSeconds) && maps.Equal(p.Annotations, other.Annotations)
}

// GetObjectKind implements runtime.Object: what is cached has no kind of its own.
func (p *Pod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object. What is never changed needs no copy.
func (p *Pod) DeepCopyObject() runtime.Object { return p }
