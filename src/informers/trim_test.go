package informers

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/diff"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const streamOfProtobuf = runtime.ContentTypeProtobuf + ";stream=watch"

// serialised is an object as the API server sends it.
func serialised(t require.TestingT, contentType string, object runtime.Object) []byte {
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), contentType)
	require.True(t, ok)
	var text bytes.Buffer
	require.NoError(t, codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion).Encode(object, &text))
	return text.Bytes()
}

// frame is an event as a watch in protobuf brings it.
func frame(t require.TestingT, kind watch.EventType, object runtime.Object) []byte {
	event := metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: serialised(t, runtime.ContentTypeProtobuf, object)}}
	message, err := event.Marshal()
	require.NoError(t, err)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

func trim(t require.TestingT, stream io.Reader) []byte {
	all, err := io.ReadAll(newTrimmed(io.NopCloser(stream)))
	require.NoError(t, err)
	return all
}

// apiServer answers each request with the given kind of content, and a client of it that trims.
func apiServer(t *testing.T, contentType string, content []byte) rest.Interface {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, err := w.Write(content)
		assert.NoError(t, err)
	}))
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL}
	config.Wrap(TrimPods)
	client, err := rest.HTTPClientFor(config)
	require.NoError(t, err)
	pods, err := apiutil.RESTClientForGVK(corev1.SchemeGroupVersion.WithKind("Pod"), false, false, config, serializer.NewCodecFactory(newScheme()), client)
	require.NoError(t, err)
	return pods
}

func events(t *testing.T, client rest.Interface) []watch.Event {
	w, err := client.Get().Resource("pods").VersionedParams(&metav1.ListOptions{Watch: true}, scheme.ParameterCodec).Watch(context.Background())
	require.NoError(t, err)
	defer w.Stop()
	var all []watch.Event
	for event := range w.ResultChan() {
		all = append(all, event)
	}
	return all
}

// Of a watch that was trimmed, client-go makes what it would have made of the whole.
func TestATrimmedWatchTellsTheSame(t *testing.T) {
	mark := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "8", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true", "big": "x"}}}
	expired := &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: http.StatusGone, Message: "too old"}
	var stream []byte
	stream = append(stream, frame(t, watch.Added, fullPod())...)
	stream = append(stream, frame(t, watch.Deleted, &corev1.Pod{})...)
	stream = append(stream, frame(t, watch.Bookmark, mark)...)
	stream = append(stream, frame(t, watch.Error, expired)...)

	got := events(t, apiServer(t, streamOfProtobuf, stream))

	require.Len(t, got, 4)
	assert.Equal(t, watch.Added, got[0].Type)
	assert.Equal(t, NewPod(fullPod()).Full(), got[0].Object.(*Pod).Full())
	assert.Equal(t, watch.Deleted, got[1].Type)
	assert.Equal(t, &corev1.Pod{}, got[1].Object.(*Pod).Full())
	assert.Equal(t, watch.Bookmark, got[2].Type)
	assert.Equal(t, "8", got[2].Object.(*Pod).ResourceVersion)
	assert.Equal(t, map[string]string{metav1.InitialEventsAnnotationKey: "true"}, got[2].Object.(*Pod).Annotations)
	assert.Equal(t, watch.Error, got[3].Type)
	assert.Equal(t, expired.Message, got[3].Object.(*metav1.Status).Message)
}

func TestAPodOfAWatchIsTrimmedToWhatIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := ambiguous(t)
		whole := frame(t, watch.Modified, pod)
		once := trim(t, bytes.NewReader(whole))
		assert.Less(t, len(once), len(whole))
		assert.Equal(t, once, trim(t, bytes.NewReader(once)), "what is left is what is kept")
		assert.NotContains(t, string(once), "10.0.0.8", "the node's address")

		var event metav1.WatchEvent
		require.NoError(t, event.Unmarshal(once[4:]))
		assert.Equal(t, string(watch.Modified), event.Type)
		got, err := runtime.Decode(serializer.NewCodecFactory(newScheme()).UniversalDeserializer(), event.Object.Raw)
		require.NoError(t, err)
		assert.Equal(t, NewPod(pod).Full(), got.(*Pod).Full())
		assert.Equal(t, pod.ResourceVersion, got.(*Pod).ResourceVersion)
	})
}

// All that is left of a pod: beside what the cache keeps, what goes with it in one message.
func TestOfAPodNothingElseIsLeft(t *testing.T) {
	var event metav1.WatchEvent
	require.NoError(t, event.Unmarshal(trim(t, bytes.NewReader(frame(t, watch.Added, fullPod())))[4:]))
	left, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), event.Object.Raw)
	require.NoError(t, err)
	full := fullPod()
	full.APIVersion, full.Kind = "v1", "Pod"
	full.Annotations = map[string]string{corev1.PodDeletionCost: "3"}
	full.ManagedFields, full.Finalizers = nil, nil
	full.Spec = corev1.PodSpec{
		NodeName:   "n",
		Containers: []corev1.Container{{Ports: full.Spec.Containers[0].Ports}},
		InitContainers: []corev1.Container{
			{Ports: full.Spec.InitContainers[0].Ports},
			{RestartPolicy: full.Spec.InitContainers[1].RestartPolicy, Ports: full.Spec.InitContainers[1].Ports},
		},
	}
	full.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: full.Status.PodIPs, Conditions: full.Status.Conditions[1:]}
	assert.True(t, equality.Semantic.DeepEqual(full, left), "%s", diff.Diff(full, left))
}

// A watch is quiet most of the time: what has come is read at once, and whoever ends it is not kept waiting.
func TestAQuietWatchIsReadAndEnded(t *testing.T) {
	from, server := io.Pipe()
	body := newTrimmed(from)
	event := frame(t, watch.Added, fullPod())
	go func() { _, _ = server.Write(event) }()
	room := make([]byte, len(event))
	n, err := body.Read(room)
	require.NoError(t, err)
	assert.Equal(t, trim(t, bytes.NewReader(event)), room[:n])

	ended := make(chan error)
	go func() {
		_, err := body.Read(room)
		ended <- err
	}()
	require.NoError(t, body.Close())
	select {
	case err := <-ended:
		assert.Equal(t, io.ErrClosedPipe, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the watch was ended, and is still read")
	}
}

// However the bytes arrive, the frames come out one after another.
func TestFramesComeInPieces(t *testing.T) {
	big := fullPod()
	big.Annotations["big"] = strings.Repeat("x", 100_000)
	stream := append(frame(t, watch.Added, big), frame(t, watch.Added, fullPod())...)
	want := append(trim(t, bytes.NewReader(frame(t, watch.Added, big))), trim(t, bytes.NewReader(frame(t, watch.Added, fullPod())))...)
	assert.Equal(t, want, trim(t, iotest.OneByteReader(bytes.NewReader(stream))))
	assert.Equal(t, want, trim(t, iotest.HalfReader(bytes.NewReader(stream))))
	pieces, err := io.ReadAll(iotest.OneByteReader(newTrimmed(io.NopCloser(bytes.NewReader(stream)))))
	require.NoError(t, err)
	assert.Equal(t, want, pieces)
}

func TestAWatchThatBreaksOffEndsAsItWould(t *testing.T) {
	whole := frame(t, watch.Added, fullPod())
	reset := errors.New("stream reset")
	for name, c := range map[string]struct {
		stream io.Reader
		want   error
	}{
		"between frames":       {bytes.NewReader(whole), nil},
		"in a length":          {bytes.NewReader(append(whole[:len(whole):len(whole)], 0, 0)), io.ErrUnexpectedEOF},
		"after a length":       {bytes.NewReader(append(whole[:len(whole):len(whole)], 0, 0, 0, 9)), io.ErrUnexpectedEOF},
		"in a frame":           {bytes.NewReader(append(whole[:len(whole):len(whole)], whole[:50]...)), io.ErrUnexpectedEOF},
		"by a reset":           {io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(reset)), reset},
		"by a reset, a length": {io.MultiReader(bytes.NewReader(whole), bytes.NewReader(whole[:3]), iotest.ErrReader(reset)), reset},
		"by a reset, a frame":  {io.MultiReader(bytes.NewReader(whole), bytes.NewReader(whole[:50]), iotest.ErrReader(reset)), reset},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := io.ReadAll(newTrimmed(io.NopCloser(c.stream)))
			assert.Equal(t, c.want, err)
			assert.Equal(t, trim(t, bytes.NewReader(whole)), all, "what came before is not lost")
		})
	}
}

func TestAnEventOfAnyLengthIsNotReadIntoMemory(t *testing.T) {
	_, err := io.ReadAll(newTrimmed(io.NopCloser(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 1}))))
	assert.ErrorContains(t, err, "4294967295 bytes")
	longest := append(binary.BigEndian.AppendUint32(nil, maxFrame), make([]byte, maxFrame)...)
	assert.Len(t, trim(t, bytes.NewReader(longest)), len(longest), "what client-go reads, too")
}

// event is one with an object that only says that it is a pod: its content would be dropped.
func event(t require.TestingT, mark string, meta runtime.TypeMeta) []byte {
	unknown, err := (&runtime.Unknown{TypeMeta: meta, Raw: protowire.AppendString(protowire.AppendTag(nil, 9, protowire.BytesType), "x")}).Marshal()
	require.NoError(t, err)
	message, err := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: append([]byte(mark), unknown...)}}).Marshal()
	require.NoError(t, err)
	return message
}

// What a later Kubernetes says around a pod is for client-go to know.
func TestWhatSurroundsAPodStays(t *testing.T) {
	message := event(t, "k8s\x00", runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"})
	message = protowire.AppendString(protowire.AppendTag(message, 15, protowire.BytesType), "new")
	got, err := eventFields().append(nil, message)
	require.NoError(t, err)
	assert.Contains(t, string(got), "new")
	assert.Less(t, len(got), len(message))
}

// What is no event of a pod, or none that is understood, is left to client-go.
func TestOtherFramesAreLeftWhole(t *testing.T) {
	pod := frame(t, watch.Added, fullPod())
	for name, message := range map[string][]byte{
		"another kind":        frame(t, watch.Added, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}})[4:],
		"a pod of others":     event(t, "k8s\x00", runtime.TypeMeta{APIVersion: "example.com/v1", Kind: "Pod"}),
		"another kind of v1":  event(t, "k8s\x00", runtime.TypeMeta{APIVersion: "v1", Kind: "PodTemplate"}),
		"an unmarked pod":     event(t, "", runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"}),
		"an event cut off":    pod[4 : len(pod)-7],
		"no protobuf":         {0xff, 0xff, 0xff},
		"an unmarked object":  {0x0a, 1, 'A', 0x12, 4, 0x0a, 2, 1, 2},
		"nothing":             {},
		"an object cut short": {0x0a, 1, 'A', 0x12, 9, 0x0a, 7, 'k', '8', 's', 0, 0x0a, 9, 1},
	} {
		t.Run(name, func(t *testing.T) {
			whole := append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
			assert.Equal(t, whole, trim(t, bytes.NewReader(whole)))
		})
	}
}

// A pod of a later Kubernetes may hold what is not a message of bytes where we know one.
func TestFieldsOfAnotherTypeArePassedOn(t *testing.T) {
	message := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7)
	got, err := podFields().append(nil, message)
	require.NoError(t, err)
	assert.Equal(t, message, got)
}

// Only watches of pods in protobuf are touched: the rest arrives byte for byte.
func TestOnlyWatchesOfPodsAreTrimmed(t *testing.T) {
	stream := frame(t, watch.Added, fullPod())
	for name, c := range map[string]struct {
		method, url, contentType, encoding string
		code                               int
		trimmed                            bool
	}{
		"all pods":              {url: "/api/v1/pods?watch=true", trimmed: true},
		"of a namespace":        {url: "/api/v1/namespaces/a/pods?resourceVersion=5&watch=true", trimmed: true},
		"behind a path":         {url: "/clusters/c/api/v1/pods?watch=1", trimmed: true},
		"a list":                {url: "/api/v1/pods?limit=500"},
		"another resource":      {url: "/api/v1/services?watch=true"},
		"a write":               {url: "/api/v1/namespaces/a/pods?watch=true", method: http.MethodPost},
		"refused":               {url: "/api/v1/pods?watch=true", code: http.StatusForbidden},
		"JSON":                  {url: "/api/v1/pods?watch=true", contentType: "application/json;stream=watch"},
		"of pods' namespace":    {url: "/api/v1/namespaces/pods/services?watch=true"},
		"a name that ends so":   {url: "/apis/example.com/v1/tripods?watch=true"},
		"protobuf, not a watch": {url: "/api/v1/pods?watch=true", contentType: runtime.ContentTypeProtobuf},
		"compressed":            {url: "/api/v1/pods?watch=true", encoding: "gzip"},
		"of no type":            {url: "/api/v1/pods?watch=true", contentType: ";"},
	} {
		t.Run(name, func(t *testing.T) {
			response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(stream)), ContentLength: 7}
			response.Header.Set("Content-Length", "7")
			response.Header.Set("Content-Type", streamOfProtobuf)
			if c.contentType != "" {
				response.Header.Set("Content-Type", c.contentType)
			}
			if c.encoding != "" {
				response.Header.Set("Content-Encoding", c.encoding)
			}
			if c.code != 0 {
				response.StatusCode = c.code
			}
			request := httptest.NewRequest(c.method, "http://api"+c.url, nil)
			got, err := TrimPods(answer{response, nil}).RoundTrip(request)
			require.NoError(t, err)
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			assert.Equal(t, c.trimmed, len(body) < len(stream))
			assert.Equal(t, c.trimmed, got.ContentLength == -1 && got.Header.Get("Content-Length") == "")
			assert.Equal(t, c.trimmed, !bytes.Equal(stream, body))
		})
	}
}

type answer struct {
	response *http.Response
	err      error
}

func (a answer) RoundTrip(*http.Request) (*http.Response, error) { return a.response, a.err }

// client-go ends idle connections through all wrappers.
func TestTheTransportBehindIsFound(t *testing.T) {
	idle := &idleCloser{}
	utilnet.CloseIdleConnectionsFor(TrimPods(idle))
	assert.True(t, idle.closed)
}

type idleCloser struct {
	answer
	closed bool
}

func (c *idleCloser) CloseIdleConnections() { c.closed = true }

func TestAFailedRequestStaysFailed(t *testing.T) {
	away := errors.New("away")
	transport := TrimPods(answer{nil, away})
	_, err := transport.RoundTrip(httptest.NewRequest("", "http://api/api/v1/pods?watch=true", nil))
	assert.Equal(t, away, err)
}

// An API server that does not speak protobuf is understood as well.
func TestAWatchInJSONTellsTheSame(t *testing.T) {
	stream, err := json.Marshal(metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: serialised(t, runtime.ContentTypeJSON, fullPod())}})
	require.NoError(t, err)
	got := events(t, apiServer(t, runtime.ContentTypeJSON, stream))
	require.Len(t, got, 1)
	assert.Equal(t, NewPod(fullPod()).Full(), got[0].Object.(*Pod).Full())
}

// A watch of a large cluster brings thousands of events a second.
func TestTrimmingAllocatesNothing(t *testing.T) {
	event := frame(t, watch.Modified, fullPod())
	body := newTrimmed(io.NopCloser(&endless{event: event}))
	room := make([]byte, len(event))
	var left, failed int
	allocated := testing.AllocsPerRun(100, func() {
		if _, err := body.Read(room); err != nil {
			failed++
		}
		left += len(body.unread)
	})
	assert.Zero(t, allocated)
	assert.Zero(t, failed)
	assert.Zero(t, left, "an event at a time")
}

// endless brings one event again and again.
type endless struct{ event, rest []byte }

func (e *endless) Read(to []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.event
	}
	n := copy(to, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// FuzzTrim feeds what is no pod: of what is left, the same pod is read. What surrounds it need not be a frame either.
func FuzzTrim(f *testing.F) {
	message, err := fullPod().Marshal()
	require.NoError(f, err)
	f.Add(message)
	f.Add(message[:len(message)-3])
	f.Add(frame(f, watch.Added, fullPod()))
	f.Fuzz(func(t *testing.T, message []byte) {
		_, _ = io.ReadAll(newTrimmed(io.NopCloser(bytes.NewReader(message)))) // must not panic
		var whole, left Pod
		short, err := podFields().append(nil, message)
		if err != nil || whole.Unmarshal(message) != nil {
			return // left whole, then
		}
		require.NoError(t, left.Unmarshal(short))
		assert.Equal(t, whole.Full(), left.Full())
		assert.True(t, whole.Same(&left))
	})
}
