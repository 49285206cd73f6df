package informers

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// maxFrame is the longest event that is read, in bytes. client-go's limit is the same; etcd's is a tenth of it.
const maxFrame = 16 << 20

// TrimPods takes out of watches of pods what the cache does not keep, before client-go reads it. client-go copies each
// event twice before it asks for an object to be made of it, and of 4 kB of a pod a tenth is kept: those copies were most
// of the garbage that the controller made. What else goes over the connection, and what is not protobuf, passes as it is.
//
// It is for rest.Config.Wrap of the cache's config: whoever else watches pods with that does not get them whole.
func TrimPods(next http.RoundTripper) http.RoundTripper { return trimmer{next} }

type trimmer struct{ next http.RoundTripper }

// WrappedRoundTripper is how client-go finds the transport behind a wrapper.
func (t trimmer) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t trimmer) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil || !watchesPods(request) || !streamsProtobuf(response) {
		return response, err
	}
	response.Body = newTrimmed(response.Body)
	response.ContentLength = -1
	response.Header.Del("Content-Length")
	return response, nil
}

func watchesPods(request *http.Request) bool {
	return request.Method == http.MethodGet && strings.HasSuffix(request.URL.Path, "/pods") && request.URL.Query().Has("watch")
}

func streamsProtobuf(response *http.Response) bool {
	kind, parameters, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && kind == runtime.ContentTypeProtobuf && parameters["stream"] == "watch" &&
		response.StatusCode == http.StatusOK && response.Header.Get("Content-Encoding") == ""
}

// trimmed is what a watch of pods brings: frames, of which the first 4 bytes say how many follow, each a WatchEvent.
type trimmed struct {
	io.Closer
	from   *bufio.Reader
	fields whitelist
	// head and frame are what was read last, and out what is left of it; the next is written over them.
	head       [4]byte
	frame, out []byte
	// unread is the end of out.
	unread []byte
}

func newTrimmed(body io.ReadCloser) *trimmed {
	return &trimmed{Closer: body, from: bufio.NewReader(body), fields: eventFields()}
}

// Read implements io.Reader.
func (t *trimmed) Read(to []byte) (int, error) {
	if len(t.unread) == 0 {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(to, t.unread)
	t.unread = t.unread[n:]
	return n, nil
}

// next reads a frame. One that is not understood is left whole: client-go knows what to say of it.
func (t *trimmed) next() error {
	if _, err := io.ReadFull(t.from, t.head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(t.head[:])
	if size > maxFrame {
		return fmt.Errorf("failed to read an event of a watch of pods: it has %d bytes, more than %d", size, maxFrame)
	}
	t.frame = slices.Grow(t.frame[:0], int(size))[:size]
	if _, err := io.ReadFull(t.from, t.frame); err != nil {
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	out, err := t.fields.append(append(t.out[:0], t.head[:]...), t.frame)
	if err != nil {
		out = append(append(out[:0], t.head[:]...), t.frame...)
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)-len(t.head)))
	t.out, t.unread = out, out
	return nil
}

// whitelist has the fields of a message that are kept, by their numbers; see decode.go. Number 0, which no field has, is for
// all that are not named.
type whitelist map[protowire.Number]rule

// rule says what is kept of a field: all of it, if nothing else is said.
type rule struct {
	// when leaves fields out by what they hold.
	when func(content []byte) bool
	// of appends what is kept of what the field holds.
	of func(to, content []byte) ([]byte, error)
}

// append appends what is kept of a message.
func (w whitelist) append(to, message []byte) ([]byte, error) {
	others, keepOthers := w[0]
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return to, protowire.ParseError(tag)
		}
		value := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if value < 0 {
			return to, protowire.ParseError(value)
		}
		rule, keep := w[number]
		if !keep {
			rule, keep = others, keepOthers
		}
		if keep {
			var err error
			if to, err = rule.append(to, message[:tag+value], tag, kind); err != nil {
				return to, err
			}
		}
		message = message[tag+value:]
	}
	return to, nil
}

// append appends what is kept of a field. The first bytes of raw are its tag.
func (r rule) append(to, raw []byte, tag int, kind protowire.Type) ([]byte, error) {
	if kind != protowire.BytesType {
		return append(to, raw...), nil
	}
	content, _ := protowire.ConsumeBytes(raw[tag:])
	if r.when != nil && !r.when(content) {
		return to, nil
	}
	if r.of == nil {
		return append(to, raw...), nil
	}
	to = append(to, raw[:tag]...)
	start := len(to)
	to, err := r.of(to, content)
	var room [10]byte
	return slices.Insert(to, start, protowire.AppendVarint(room[:0], uint64(len(to)-start))...), err
}

// eventFields are what is kept of a WatchEvent (k8s.io/apimachinery/pkg/apis/meta/v1): the object in a RawExtension is
// trimmed, and what surrounds it stays.
func eventFields() whitelist {
	pod := object(whitelist{0: {}, 2: {of: podFields().append}})
	return whitelist{0: {}, 2: {of: whitelist{0: {}, 1: {of: pod}}.append}}
}

// object returns what appends what is kept of an object as Kubernetes serialises it: four bytes as a mark, and an Unknown
// (k8s.io/apimachinery/pkg/runtime) which tells its kind. An error comes as an object of another kind.
func object(unknown whitelist) func(to, content []byte) ([]byte, error) {
	mark := []byte("k8s\x00")
	return func(to, content []byte) ([]byte, error) {
		message, ok := bytes.CutPrefix(content, mark)
		if !ok || !isPod(message) {
			return append(to, content...), nil
		}
		return unknown.append(append(to, mark...), message)
	}
}

// isPod reads the TypeMeta of an Unknown.
func isPod(unknown []byte) (is bool) {
	err := eachField(unknown, func(f field) error {
		if f.number != 1 {
			return nil
		}
		meta, err := readPair(f.bytes)
		is = string(meta[0]) == "v1" && string(meta[1]) == "Pod"
		return err
	})
	return is && err == nil
}

// podFields are those that Pod.Unmarshal looks into.
func podFields() whitelist {
	container := whitelist{6: {}, 24: {}}
	return whitelist{
		1: {of: whitelist{1: {}, 3: {}, 5: {}, 6: {}, 8: {}, 9: {}, 10: {}, 11: {}, 12: {when: keptEntry}, 13: {}}.append},
		2: {of: whitelist{2: {of: container.append}, 10: {}, 20: {of: container.append}}.append},
		3: {of: whitelist{1: {}, 2: {when: saysReady}, 12: {}}.append},
	}
}

// keptEntry tells whether an entry of the annotations is read.
func keptEntry(content []byte) bool {
	entry, err := readPair(content)
	return err != nil || keptAnnotation(entry[0])
}

// saysReady tells whether a condition is the one that is read.
func saysReady(content []byte) bool {
	condition, err := readPair(content)
	return err != nil || string(condition[0]) == string(corev1.PodReady)
}
