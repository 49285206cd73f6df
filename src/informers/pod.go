package informers

import (
	"encoding/binary"
	"iter"
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
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Pod is a pod as the cache holds it: what election and routing read of it, and no more. Pods are most of what is
// cached, and a corev1.Pod takes 1.3 kB before it says anything; this takes 350 bytes, and what the pods of one workload
// have in common is kept once for all of them. Whoever reads a pod gets a corev1.Pod back: see Pods.
//
// It is never changed.
type Pod struct {
	// ObjectMeta has neither labels nor owners: they are read by GetLabels and GetOwnerReferences.
	metav1.ObjectMeta

	// namespace keeps the one copy of ObjectMeta.Namespace that all pods have.
	namespace unique.Handle[string]
	node      unique.Handle[string]
	phase     unique.Handle[corev1.PodPhase]
	owner     unique.Handle[owner]
	// labels are keys and values in turns, by key.
	labels texts
	// ports are name, protocol, number and whether the container is an init container, of each port in turn.
	ports texts
	ips   []corev1.PodIP
	// ready is whether the condition Ready is true, and readySince since when it is what it is; zero without one.
	ready      bool
	readySince metav1.Time
}

// controller-runtime drops events of what is none.
var _ client.Object = (*Pod)(nil)

// owner is the controller of a pod, empty if it has none.
type owner struct{ kind, name, uid string }

// texts is a list of strings that all who have the same one share. Two of them are equal if the lists are.
type texts struct{ packed unique.Handle[string] }

// share makes a list: each string after its length.
func share(list ...string) texts {
	var room [512]byte // enough for most, without an allocation
	packed := room[:0]
	for _, text := range list {
		packed = appendText(packed, text)
	}
	return texts{unique.Make(string(packed))}
}

func appendText[T string | []byte](packed []byte, text T) []byte {
	return append(binary.AppendUvarint(packed, uint64(len(text))), text...)
}

// all are the strings of the list.
func (t texts) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for packed := t.packed.Value(); packed != ""; {
			text, rest := cutText(packed)
			if !yield(text) {
				return
			}
			packed = rest
		}
	}
}

// cutText undoes binary.AppendUvarint and the append after it; binary.Uvarint wants bytes, which would be a copy.
func cutText(packed string) (text, rest string) {
	length, shift := 0, 0
	for i := 0; ; i++ {
		length |= int(packed[i]&0x7f) << shift
		if packed[i] < 0x80 {
			return packed[i+1 : i+1+length], packed[i+1+length:]
		}
		shift += 7
	}
}

// NewPod packs a pod.
func NewPod(full *corev1.Pod) *Pod {
	var pod Pod
	pod.pack(full)
	return &pod
}

// pack reads what Unmarshal reads, and no more.
func (p *Pod) pack(full *corev1.Pod) {
	*p = Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:                       full.Name,
			UID:                        full.UID,
			ResourceVersion:            full.ResourceVersion,
			CreationTimestamp:          full.CreationTimestamp,
			DeletionTimestamp:          full.DeletionTimestamp,
			DeletionGracePeriodSeconds: full.DeletionGracePeriodSeconds,
		},
		namespace: unique.Make(full.Namespace),
		node:      unique.Make(full.Spec.NodeName),
		phase:     unique.Make(full.Status.Phase),
		owner:     unique.Make(ownerOf(full)),
		labels:    shareLabels(full.Labels),
		ports:     sharePorts(full),
		ips:       full.Status.PodIPs,
		ready:     endpointsliceutil.IsPodReady(full),
	}
	p.Namespace = p.namespace.Value()
	p.Annotations = keep(full.Annotations, func(key string) bool { return keptAnnotation([]byte(key)) })
	for i := range full.Status.Conditions {
		if c := &full.Status.Conditions[i]; c.Type == corev1.PodReady {
			p.readySince = c.LastTransitionTime
			break
		}
	}
}

func ownerOf(pod *corev1.Pod) owner {
	controller := metav1.GetControllerOfNoCopy(pod)
	if controller == nil {
		return owner{}
	}
	return owner{kind: controller.Kind, name: controller.Name, uid: string(controller.UID)}
}

func shareLabels(labels map[string]string) texts {
	keys := make([]string, 0, len(labels))
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	list := make([]string, 0, 2*len(labels))
	for _, key := range keys {
		list = append(list, key, labels[key])
	}
	return share(list...)
}

// sharePorts keeps the named ports, by which alone a Service's targetPort is looked up; of init containers, those that
// go on running.
func sharePorts(pod *corev1.Pod) texts {
	var packed []byte
	add := func(c *corev1.Container, sidecar bool) {
		for i := range c.Ports {
			packed = appendPort(packed, &c.Ports[i], sidecar)
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
	return texts{unique.Make(string(packed))}
}

func appendPort(packed []byte, port *corev1.ContainerPort, sidecar bool) []byte {
	if port.Name == "" {
		return packed
	}
	packed = appendText(appendText(packed, port.Name), string(port.Protocol))
	return appendText(appendText(packed, strconv.Itoa(int(port.ContainerPort))), strconv.FormatBool(sidecar))
}

// Full is the pod as Kubernetes' libraries want it, without what was left out.
func (p *Pod) Full() *corev1.Pod {
	var pod corev1.Pod
	p.fill(&pod)
	return &pod
}

func (p *Pod) fill(pod *corev1.Pod) {
	*pod = corev1.Pod{ObjectMeta: p.ObjectMeta}
	pod.Labels = p.GetLabels()
	pod.OwnerReferences = p.GetOwnerReferences()
	pod.Spec.NodeName = p.node.Value()
	pod.Spec.Containers, pod.Spec.InitContainers = p.containers()
	pod.Status.Phase = p.phase.Value()
	pod.Status.PodIPs = p.ips
	if p.ready || !p.readySince.IsZero() {
		status := corev1.ConditionFalse
		if p.ready {
			status = corev1.ConditionTrue
		}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: p.readySince}}
	}
}

// containers are one with the ports of all containers, and one with those of all restartable init containers, in the
// order in which ports are looked up.
func (p *Pod) containers() (containers, sidecars []corev1.Container) {
	var ports, sidecarPorts []corev1.ContainerPort
	for field := range slices.Chunk(slices.Collect(p.ports.all()), 4) {
		number, _ := strconv.ParseInt(field[2], 10, 32) // as sharePorts wrote it
		port := corev1.ContainerPort{Name: field[0], Protocol: corev1.Protocol(field[1]), ContainerPort: int32(number)}
		if field[3] == strconv.FormatBool(true) {
			sidecarPorts = append(sidecarPorts, port)
		} else {
			ports = append(ports, port)
		}
	}
	if ports != nil {
		containers = []corev1.Container{{Ports: ports}}
	}
	if sidecarPorts != nil {
		sidecars = []corev1.Container{{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: sidecarPorts}}
	}
	return containers, sidecars
}

// GetLabels makes a new map each time.
func (p *Pod) GetLabels() map[string]string {
	var labels map[string]string
	key, isKey := "", true
	for text := range p.labels.all() {
		switch {
		case isKey:
			key = text
		case labels == nil:
			labels = map[string]string{key: text}
		default:
			labels[key] = text
		}
		isKey = !isKey
	}
	return labels
}

// GetOwnerReferences has the pod's controller, or nobody.
func (p *Pod) GetOwnerReferences() []metav1.OwnerReference {
	o := p.owner.Value()
	if o == (owner{}) {
		return nil
	}
	return []metav1.OwnerReference{{Kind: o.kind, Name: o.name, UID: types.UID(o.uid), Controller: ptr.To(true)}}
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
