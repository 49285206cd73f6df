package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

// bareInFlight is how many writes the bare loop has in flight at most. More does not make the API server of a small
// machine faster.
const bareInFlight = 16

// bare is the physical limit: it watches all pods, and answers the event that a pod of its namespace is not Ready with one
// PUT whose bytes were made beforehand. It has no cache, no queue, no decision, no precondition and no report.
//
// All pods, because zen-lead watches all: the API server hands an event first to those who watch the pod's namespace alone,
// and who comes first gets a CPU first.
type bare struct {
	namespace string
	client    *kubernetes.Clientset
	http      *http.Client
	host      string
	// answers are the requests by pod.
	answers map[string]answer
	slots   chan struct{}
}

type answer struct {
	path string
	body []byte
}

func runBare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "path of a kubeconfig")
	namespace := flags.String("namespace", "", "namespace of the pods")
	probe := flags.String("probe", "", "address that answers once the watch is open")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("failed to load the kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = config.ContentType
	b := &bare{namespace: *namespace, host: config.Host, answers: map[string]answer{}, slots: make(chan struct{}, bareInFlight)}
	if b.http, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("failed to build a transport: %w", err)
	}
	if b.client, err = kubernetes.NewForConfigAndClient(config, b.http); err != nil {
		return fmt.Errorf("failed to build a client: %w", err)
	}
	return b.run(ctx, *probe)
}

func (b *bare) run(ctx context.Context, probe string) error {
	list, err := b.client.CoreV1().Pods(b.namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("failed to list pods: %w", err)
	}
	if err := b.prepare(list.Items); err != nil {
		return err
	}
	failed := make(chan error, 1)
	watching := make(chan struct{})
	go func() {
		<-watching
		failed <- http.ListenAndServe(probe, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	version := list.ResourceVersion
	for first := true; ctx.Err() == nil; first = false {
		w, err := b.client.CoreV1().Pods(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil {
			return fmt.Errorf("failed to watch pods: %w", err)
		}
		if first {
			close(watching)
		}
		if version, err = b.follow(ctx, w, version, failed); err != nil {
			return err
		}
	}
	return nil
}

// follow answers events until the watch ends, as the API server ends those of watchers that are slow, and returns the last
// version seen.
func (b *bare) follow(ctx context.Context, w watch.Interface, version string, failed <-chan error) (string, error) {
	defer w.Stop()
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return version, nil
			}
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				return version, fmt.Errorf("the watch failed: %v", event)
			}
			version = pod.ResourceVersion
			if pod.Namespace == b.namespace && !isReady(pod) {
				b.slots <- struct{}{}
				go b.answer(ctx, pod.Name)
			}
		case err := <-failed:
			return version, fmt.Errorf("failed to serve the probe: %w", err)
		case <-ctx.Done():
			return version, nil
		}
	}
}

// prepare makes, for each pod, the write that replaces it by the next pod of its Service.
func (b *bare) prepare(pods []corev1.Pod) error {
	bySource := map[string][]*corev1.Pod{}
	for i := range pods {
		source := pods[i].Labels[labelSource]
		bySource[source] = append(bySource[source], &pods[i])
	}
	for source, group := range bySource {
		slices.SortFunc(group, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
		for i, pod := range group {
			slice := bareSlice(source, group[(i+1)%len(group)])
			var body bytes.Buffer
			if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(slice, &body); err != nil {
				return fmt.Errorf("failed to encode slice %s: %w", slice.Name, err)
			}
			path := fmt.Sprintf("%s/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices/%s", b.host, slice.Namespace, slice.Name)
			b.answers[pod.Name] = answer{path: path, body: body.Bytes()}
		}
	}
	return nil
}

func (b *bare) answer(ctx context.Context, pod string) {
	defer func() { <-b.slots }()
	a := b.answers[pod]
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, a.path, bytes.NewReader(a.body))
	if err != nil {
		fmt.Println("failed to build a request:", err)
		return
	}
	request.Header.Set("Content-Type", "application/vnd.kubernetes.protobuf")
	request.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	response, err := b.http.Do(request)
	if err != nil {
		fmt.Println("failed to write a slice:", err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		fmt.Println("failed to write a slice:", response.Status, string(text), err)
	}
}

// bareSlice is what zen-lead would publish for the pod.
func bareSlice(source string, leader *corev1.Pod) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: leader.Namespace, Name: source + "-leader-ipv4",
			Labels: map[string]string{
				discoveryv1.LabelServiceName: source + "-leader", discoveryv1.LabelManagedBy: byBare,
				"app.kubernetes.io/managed-by": byBare, "zen-lead.io/source-service": source,
			},
			Annotations: map[string]string{
				"zen-lead.io/leader-epoch": "1", "zen-lead.io/leader-last-switch-time": "2026-01-01T00:00:00Z",
				corev1.EndpointsLastChangeTriggerTime: "2026-01-01T00:00:00.123456789Z",
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: source, UID: leader.UID, Controller: ptr.To(true)}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{leader.Status.PodIP},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			NodeName:   ptr.To(leader.Spec.NodeName),
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: leader.Namespace, Name: leader.Name, UID: leader.UID},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(8080))}},
	}
}

func isReady(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			return pod.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}
