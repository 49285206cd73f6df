package elected

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestTheLabelGoesToWhoeverHoldsTheLease(t *testing.T) {
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	}
	client := fake.NewClientset(pod("a"), pod("b"))
	labelled := func() string {
		list, err := client.CoreV1().Pods("ns").List(t.Context(), metav1.ListOptions{LabelSelector: Label + "=my-app"})
		require.NoError(t, err)
		names := ""
		for _, found := range list.Items {
			names += found.Name
		}
		return names
	}
	run := func(name string) context.CancelFunc {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		go (&Candidate{Client: client, Namespace: "ns", Pod: name, Lease: "my-app"}).Run(ctx)
		return cancel
	}
	stop := run("a")
	require.Eventually(t, func() bool { return labelled() == "a" }, 20*time.Second, 10*time.Millisecond)
	run("b")
	stop()
	require.Eventually(t, func() bool { return labelled() == "b" }, 20*time.Second, 10*time.Millisecond)
	lease, err := client.CoordinationV1().Leases("ns").Get(t.Context(), "my-app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "b", *lease.Spec.HolderIdentity)
}
