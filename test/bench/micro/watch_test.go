package micro

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/kube-zen/zen-lead/src/informers"
)

// bigPod is a pod with what a cluster adds to it: 4 kB, as the API server sends it.
func bigPod() *corev1.Pod {
	pod := makePod(1, 0, "")
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(strings.Repeat(`{"f:status":{}}`, 140))}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ImageID: strings.Repeat("sha256:", 100)}}
	return pod
}

// connection answers each watch with the same event, so many times.
type connection struct {
	frame, rest []byte
	events      int
}

func newConnection(b *testing.B, pod *corev1.Pod) *connection {
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	protobuf, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	object, err := runtime.Encode(codecs.EncoderForVersion(protobuf.Serializer, corev1.SchemeGroupVersion), pod)
	if err != nil {
		b.Fatal(err)
	}
	event := metav1.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: object}}
	message, err := event.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return &connection{frame: append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)}
}

func (c *connection) RoundTrip(*http.Request) (*http.Response, error) {
	header := http.Header{"Content-Type": {runtime.ContentTypeProtobuf + ";stream=watch"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(c)}, nil
}

func (c *connection) Read(to []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.events == 0 {
			return 0, io.EOF
		}
		c.events--
		c.rest = c.frame
	}
	n := copy(to, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// BenchmarkWatchedPod is what an event of a pod costs from the connection to the object, by client-go's own path.
func BenchmarkWatchedPod(b *testing.B) {
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"whole":   func(next http.RoundTripper) http.RoundTripper { return next },
		"trimmed": informers.TrimPods,
	} {
		b.Run(name, func(b *testing.B) {
			from := newConnection(b, bigPod())
			codecs := serializer.NewCodecFactory(informers.CacheOptions(nil, informers.NewStore()).Scheme)
			kind := corev1.SchemeGroupVersion.WithKind("Pod")
			client, err := apiutil.RESTClientForGVK(kind, false, false, &rest.Config{}, codecs, &http.Client{Transport: wrap(from)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(from.frame)))
			from.events = b.N
			b.ResetTimer()
			watch, err := client.Get().Resource("pods").VersionedParams(&metav1.ListOptions{Watch: true}, scheme.ParameterCodec).Watch(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			events := 0
			for event := range watch.ResultChan() {
				if _, ok := event.Object.(*informers.Pod); ok {
					events++
				}
			}
			if events != b.N {
				b.Fatalf("%d events, not %d", events, b.N)
			}
		})
	}
}
