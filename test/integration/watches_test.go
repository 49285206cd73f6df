package integration

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/informers"
)

// The API server decides how a watch is written down: what is trimmed in tests with messages of our own must be trimmed
// here, and a watch that is not understood would only cost more.
func TestWatches_PodsArriveWithWhatIsReadAlone(t *testing.T) {
	w := newWorld(t)
	w.Pod(pod("a").Cost("5"))
	w.UpdatePod("a", func(p *corev1.Pod) { p.Annotations["example.com/other"] = "x" })
	whole, err := w.GetPod("a")
	require.NoError(t, err)
	require.NotEmpty(t, whole.ManagedFields)

	for contentType, trimmed := range map[string]bool{runtime.ContentTypeProtobuf: true, runtime.ContentTypeJSON: false} {
		t.Run(contentType, func(t *testing.T) {
			config := w.Config()
			config.ContentType = contentType
			config.Wrap(informers.TrimPods)
			got, mark := firstOfWatch(t, config, w.Namespace)
			assert.Equal(t, whole.ResourceVersion, got.ResourceVersion)
			assert.Equal(t, informers.NewPod(whole).Full(), informers.NewPod(got).Full())
			assert.Equal(t, trimmed, len(got.ManagedFields) == 0)
			require.Len(t, got.Spec.Containers, 1)
			assert.Equal(t, trimmed, got.Spec.Containers[0].Image == "")
			assert.Equal(t, trimmed, got.Annotations["example.com/other"] == "")
			assert.Equal(t, "true", mark.Annotations[metav1.InitialEventsAnnotationKey])
		})
	}
}

// firstOfWatch are the only pod that a watch begins with, and what tells that there are no more.
func firstOfWatch(t *testing.T, config *rest.Config, namespace string) (pod, mark *corev1.Pod) {
	client, err := corev1client.NewForConfig(config)
	require.NoError(t, err)
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watched, err := client.Pods(namespace).Watch(ctx, metav1.ListOptions{
		SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
	})
	require.NoError(t, err)
	defer watched.Stop()
	added, bookmark := <-watched.ResultChan(), <-watched.ResultChan()
	require.Equal(t, watch.Added, added.Type)
	require.Equal(t, watch.Bookmark, bookmark.Type)
	return added.Object.(*corev1.Pod), bookmark.Object.(*corev1.Pod)
}
