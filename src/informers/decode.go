package informers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unique"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/routing"
)

// A pod is about 4 kB when it arrives, of which zen-lead reads a tenth, and every event of every pod of the cluster
// arrives. So what is read is taken out of the message, and the rest is passed over.
//
// Fields have their numbers in generated.proto of k8s.io/api/core/v1 and k8s.io/apimachinery/pkg/apis/meta/v1; they never
// change. That the outcome is the same as that of decoding the whole is tested.

// Unmarshal reads a pod as the API server sends it. Kubernetes' codecs call it because the cache's scheme says that this
// type is what a Pod is decoded into.
func (p *Pod) Unmarshal(message []byte) error {
	*p = Pod{namespace: unique.Make(""), node: unique.Make(""), phase: unique.Make(corev1.PodPhase("")), owner: unique.Make(owner{})}
	var room parts
	err := eachField(message, func(f field) error {
		switch f.number {
		case 1:
			return p.readMeta(f.bytes, &room)
		case 2:
			return p.readSpec(f.bytes, &room)
		case 3:
			return p.readStatus(f.bytes, &room)
		}
		return nil
	})
	p.labels = room.sortedLabels()
	p.ports = texts{unique.Make(string(append(room.ports, room.sidecarPorts...)))}
	return err
}

// parts are what comes in several fields.
type parts struct {
	labels [][2][]byte
	// ports are as texts has them.
	ports, sidecarPorts []byte
	// conditioned is set after the first condition Ready: others do not count.
	conditioned bool
}

func (r *parts) sortedLabels() texts {
	slices.SortStableFunc(r.labels, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	var room [512]byte
	packed := room[:0]
	for i, label := range r.labels {
		if i+1 < len(r.labels) && bytes.Equal(label[0], r.labels[i+1][0]) {
			continue // in a map, the last counts
		}
		packed = appendText(appendText(packed, label[0]), label[1])
	}
	return texts{unique.Make(string(packed))}
}

// readMeta reads an ObjectMeta.
func (p *Pod) readMeta(message []byte, room *parts) error {
	err := eachField(message, func(f field) error {
		switch f.number {
		case 1:
			p.Name = string(f.bytes)
		case 3:
			p.namespace = unique.Make(string(f.bytes))
		case 5:
			p.UID = types.UID(f.bytes)
		case 6:
			p.ResourceVersion = string(f.bytes)
		case 8:
			return p.CreationTimestamp.Unmarshal(f.bytes)
		case 9:
			p.DeletionTimestamp = &metav1.Time{}
			return p.DeletionTimestamp.Unmarshal(f.bytes)
		case 10:
			p.DeletionGracePeriodSeconds = ptr.To(int64(f.varint))
		case 11:
			entry, err := readPair(f.bytes)
			room.labels = append(room.labels, entry)
			return err
		case 12:
			return p.readAnnotation(f.bytes)
		case 13:
			return p.readOwner(f.bytes)
		}
		return nil
	})
	p.Namespace = p.namespace.Value()
	return err
}

func (p *Pod) readAnnotation(message []byte) error {
	entry, err := readPair(message)
	if keptAnnotation(entry[0]) {
		if p.Annotations == nil {
			p.Annotations = make(map[string]string, 1)
		}
		p.Annotations[string(entry[0])] = string(entry[1])
	}
	return err
}

// readOwner reads an OwnerReference.
func (p *Pod) readOwner(message []byte) error {
	var o owner
	controls := false
	err := eachField(message, func(f field) error {
		switch f.number {
		case 1:
			o.kind = string(f.bytes)
		case 3:
			o.name = string(f.bytes)
		case 4:
			o.uid = string(f.bytes)
		case 6:
			controls = f.varint != 0
		}
		return nil
	})
	if controls && p.owner.Value() == (owner{}) { // the first counts
		p.owner = unique.Make(o)
	}
	return err
}

// readSpec reads a PodSpec.
func (p *Pod) readSpec(message []byte, room *parts) (err error) {
	return eachField(message, func(f field) error {
		switch f.number {
		case 2:
			room.ports, _, err = readPorts(room.ports, f.bytes, false)
		case 10:
			p.node = unique.Make(string(f.bytes))
		case 20:
			all, sidecar, err := readPorts(room.sidecarPorts, f.bytes, true)
			if sidecar {
				room.sidecarPorts = all
			}
			return err
		}
		return err
	})
}

// readPorts appends the named ports of a Container, and tells whether it is always restarted.
func readPorts(to, message []byte, sidecar bool) (_ []byte, always bool, err error) {
	err = eachField(message, func(f field) error {
		switch f.number {
		case 6:
			var port corev1.ContainerPort
			if err := port.Unmarshal(f.bytes); err != nil {
				return err
			}
			to = appendPort(to, &port, sidecar)
		case 24:
			always = string(f.bytes) == string(corev1.ContainerRestartPolicyAlways)
		}
		return nil
	})
	return to, always, err
}

// readStatus reads a PodStatus.
func (p *Pod) readStatus(message []byte, room *parts) error {
	return eachField(message, func(f field) error {
		switch f.number {
		case 1:
			p.phase = unique.Make(corev1.PodPhase(f.bytes))
		case 2:
			return p.readCondition(f.bytes, room)
		case 12:
			ip, err := readPair(f.bytes)
			p.ips = append(p.ips, corev1.PodIP{IP: string(ip[0])})
			return err
		}
		return nil
	})
}

// readCondition reads a PodCondition: whether the pod is Ready.
func (p *Pod) readCondition(message []byte, room *parts) error {
	pair, err := readPair(message)
	if err != nil || room.conditioned || string(pair[0]) != string(corev1.PodReady) {
		return err
	}
	room.conditioned = true
	p.ready = string(pair[1]) == string(corev1.ConditionTrue)
	return eachField(message, func(f field) error {
		if f.number == 4 {
			return p.readySince.Unmarshal(f.bytes)
		}
		return nil
	})
}

// readPair is what is in the fields 1 and 2: key and value of an entry of a map, type and status of a condition.
func readPair(message []byte) (pair [2][]byte, err error) {
	err = eachField(message, func(f field) error {
		if f.number <= 2 {
			pair[f.number-1] = f.bytes
		}
		return nil
	})
	return pair, err
}

// field is a field of a message, with what it holds: a text or a message, or a number.
type field struct {
	number protowire.Number
	bytes  []byte
	varint uint64
}

// eachField calls visit with the fields of a message.
func eachField(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return fmt.Errorf("failed to read a field: %w", protowire.ParseError(size))
		}
		message = message[size:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, size = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.varint, size = protowire.ConsumeVarint(message)
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return fmt.Errorf("failed to read field %d: %w", number, protowire.ParseError(size))
		}
		if err := visit(f); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}

// keptAnnotation tells whether an annotation of a pod is read. The second is how the API server marks the end of the
// first list; no pod of the cluster has it.
func keptAnnotation(key []byte) bool {
	return string(key) == routing.PodDeletionCost || string(key) == metav1.InitialEventsAnnotationKey
}

// UnmarshalJSON is Unmarshal for an API server that does not speak protobuf.
func (p *Pod) UnmarshalJSON(text []byte) error {
	var full corev1.Pod
	if err := json.Unmarshal(text, &full); err != nil {
		return err
	}
	p.pack(&full)
	return nil
}

// Reset is what Kubernetes' codecs call before Unmarshal.
func (p *Pod) Reset() { *p = Pod{} }

// PodList is a list of pods as the cache holds them.
type PodList struct {
	metav1.ListMeta
	Items []Pod
}

// Unmarshal is Pod.Unmarshal for a list.
func (l *PodList) Unmarshal(message []byte) error {
	return eachField(message, func(f field) error {
		switch f.number {
		case 1:
			return l.ListMeta.Unmarshal(f.bytes)
		case 2:
			l.Items = append(l.Items, Pod{})
			return l.Items[len(l.Items)-1].Unmarshal(f.bytes)
		}
		return nil
	})
}

// UnmarshalJSON is Pod.UnmarshalJSON for a list.
func (l *PodList) UnmarshalJSON(text []byte) error {
	list := struct {
		Metadata *metav1.ListMeta `json:"metadata"`
		Items    *[]Pod           `json:"items"`
	}{&l.ListMeta, &l.Items}
	return json.Unmarshal(text, &list)
}

// Reset is what Kubernetes' codecs call before Unmarshal.
func (l *PodList) Reset() { *l = PodList{} }

// GetObjectKind implements runtime.Object: what is cached has no kind of its own.
func (l *PodList) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (l *PodList) DeepCopyObject() runtime.Object {
	return &PodList{ListMeta: *l.ListMeta.DeepCopy(), Items: slices.Clone(l.Items)}
}
