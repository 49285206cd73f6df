package informers

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

// ambiguous is a pod in which what is not read has words of what is.
func ambiguous(t *rapid.T) *corev1.Pod {
	pod := anyPod(t, "")
	pod.Annotations = map[string]string{"z": "v", corev1.PodDeletionCost: "3", "a": corev1.PodDeletionCost, "": string(corev1.PodReady)}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: "Initialized", Status: corev1.ConditionTrue, Reason: string(corev1.PodReady)})
	if rapid.Bool().Draw(t, "twice") { // which nobody should send
		pod.OwnerReferences = append(pod.OwnerReferences, metav1.OwnerReference{Kind: "Other", Name: "o", UID: "o", Controller: ptr.To(true)})
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(7, 0)})
	}
	pod.Status.PodIP, pod.Status.HostIP = "10.0.0.9", "10.0.0.8"
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Ports: pod.Spec.Containers[0].Ports}}}
	return pod
}

// decoded is what Kubernetes' codec for the content type makes of the object, with the cache's scheme.
func decoded(t require.TestingT, contentType string, object runtime.Object) runtime.Object {
	write, ok := runtime.SerializerInfoForMediaType(serializer.NewCodecFactory(scheme.Scheme).SupportedMediaTypes(), contentType)
	require.True(t, ok)
	gv := corev1.SchemeGroupVersion
	var message bytes.Buffer
	require.NoError(t, serializer.NewCodecFactory(scheme.Scheme).EncoderForVersion(write.Serializer, gv).Encode(object, &message))
	codecs := serializer.WithoutConversionCodecFactory{CodecFactory: serializer.NewCodecFactory(newScheme())}
	read, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), contentType)
	require.True(t, ok)
	got, err := runtime.Decode(codecs.DecoderToVersion(read.Serializer, gv), message.Bytes())
	require.NoError(t, err)
	return got
}

// It makes no difference to the cache whether a pod was decoded whole or reduced, nor what the API server speaks.
func TestADecodedPodIsThePackedOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := ambiguous(t)
		want := NewPod(pod)
		for _, contentType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
			got := decoded(t, contentType, pod).(*Pod)
			assert.Equal(t, want.Full(), got.Full(), contentType)
			assert.True(t, want.Same(got))
			assert.Equal(t, want.ResourceVersion, got.ResourceVersion)

			list := decoded(t, contentType, &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7", Continue: "c"}, Items: []corev1.Pod{*pod, {}, *pod}})
			pods := list.DeepCopyObject().(*PodList)
			assert.Equal(t, metav1.ListMeta{ResourceVersion: "7", Continue: "c"}, pods.ListMeta)
			require.Len(t, pods.Items, 3)
			for i, want := range []*Pod{want, NewPod(&corev1.Pod{}), want} {
				assert.Equal(t, want.Full(), pods.Items[i].Full(), contentType)
			}
		}
	})
}

// client-go knows the end of the first list by an annotation.
func TestTheMarkOfTheEndOfTheListIsKept(t *testing.T) {
	mark := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "8", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	for _, contentType := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		got := decoded(t, contentType, mark).(*Pod)
		assert.Equal(t, mark.Annotations, got.Annotations)
		assert.Equal(t, "8", got.ResourceVersion)
	}
}

// What a later Kubernetes adds to a pod is passed over.
func TestUnknownFieldsArePassedOver(t *testing.T) {
	message, err := fullPod().Marshal()
	require.NoError(t, err)
	message = protowire.AppendTag(message, 999, protowire.BytesType)
	message = protowire.AppendString(message, "new")
	message = protowire.AppendTag(message, 1000, protowire.VarintType)
	message = protowire.AppendVarint(message, 5)
	var got Pod
	require.NoError(t, got.Unmarshal(message))
	assert.Equal(t, NewPod(fullPod()).Full(), got.Full())
}

// FuzzPod feeds what is no pod: it must be refused or read, as Kubernetes' own decoder would.
func FuzzPod(f *testing.F) {
	message, err := fullPod().Marshal()
	require.NoError(f, err)
	f.Add(message)
	f.Add(message[:len(message)-3])
	f.Add([]byte{0x0a, 0x05, 0x0a})
	f.Fuzz(func(t *testing.T, message []byte) {
		var full corev1.Pod
		var got Pod
		if err := full.Unmarshal(message); err != nil {
			_ = got.Unmarshal(message) // may be read where what is broken is not looked at
			return
		}
		if err := got.Unmarshal(message); err != nil {
			return // of what Go's own protobuf refuses, Kubernetes' decoder takes some
		}
		assert.Equal(t, NewPod(&full).Full(), got.Full())
	})
}
