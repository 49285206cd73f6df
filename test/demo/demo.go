package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

const (
	systemNamespace = "zen-lead-system"
	namespace       = "zen-lead-demo"
	release         = "zen-lead"
	app             = "my-app"
	leaderService   = app + api.LeaderSuffix

	partOfLabel = "app.kubernetes.io/part-of"
	partOf      = "zen-lead-demo"
)

type demo struct {
	options
	screen *screen
	client kubernetes.Interface
}

// run goes through the demo and prints what it showed. A failed request is an error.
func (d *demo) run(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return err
	}
	if err := d.install(ctx); err != nil {
		return err
	}
	recorder, leader, err := d.optIn(ctx)
	if err != nil {
		return err
	}
	seen, err := d.failOver(ctx, recorder, leader)
	if err != nil {
		return err
	}
	d.screen.timeline(seen)
	problems := seen.problems()
	if len(problems) == 0 {
		d.screen.printf("\n%s %s\n", d.screen.paint(green, "Result:"), d.screen.paint(bold, seen.conclusion()))
	}
	d.next()
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n        "))
	}
	return nil
}

func (d *demo) connect(ctx context.Context) error {
	for _, tool := range []string{"helm", "kubectl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not on the PATH: `make demo` puts it there, or install it", tool)
		}
	}
	client, contextName, err := harness.Connect("")
	if err != nil {
		return fmt.Errorf("%w; `make cluster-up` makes a cluster, CLUSTER=current uses yours", err)
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("no answer from the cluster of context %q: %s; see `make cluster-status`", contextName, harness.Explain(err))
	}
	nodes, err := harness.Nodes(ctx, client)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return fmt.Errorf("no node of context %q is ready for pods: see `kubectl get nodes`", contextName)
	}
	d.screen.step("Kubernetes %s, context %s", version.GitVersion, contextName)
	names := make([]string, 0, len(nodes))
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	d.screen.line("nodes that pods can run on: %s", strings.Join(names, ", "))
	if len(nodes) == 1 {
		d.screen.line("with only one, the clients run on the leader's node: no other node's view is shown")
	}
	if err := refuseForeign(ctx, client); err != nil {
		return err
	}
	d.client = client
	return nil
}

// refuseForeign stops before anything is touched that is not the demo's own.
func refuseForeign(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range []string{systemNamespace, namespace} {
		found, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("failed to get namespace %s: %w", name, err)
		}
		if found.Labels[partOfLabel] != partOf {
			return fmt.Errorf("namespace %s exists and is not the demo's: it lacks the label %s=%s; the demo changes nothing in it, use another cluster", name, partOfLabel, partOf)
		}
		if found.DeletionTimestamp != nil {
			return fmt.Errorf("namespace %s is being deleted; wait for that and run the demo again", name)
		}
	}
	return nil
}

func (d *demo) install(ctx context.Context) error {
	d.screen.step("Install zen-lead, for one namespace, with two replicas")
	if err := d.command(ctx, "kubectl", "apply", "--filename", "test/demo/namespaces.yaml"); err != nil {
		return err
	}
	values, err := d.generate("values.yaml", d.values())
	if err != nil {
		return err
	}
	if err := d.command(ctx, "cat", values); err != nil {
		return err
	}
	if err := d.clearPending(ctx); err != nil {
		return err
	}
	if err := d.command(ctx, "helm", "upgrade", "--install", release, "charts/zen-lead", "--namespace", systemNamespace,
		"--values", values, "--wait", "--timeout", "3m", "--hide-notes"); err != nil {
		return err
	}
	d.screen.step("An application with three replicas and a Service")
	manifest, err := os.ReadFile("test/demo/my-app.yaml")
	if err != nil {
		return fmt.Errorf("failed to read the application's manifest: %w", err)
	}
	file, err := d.generate(app+".yaml", strings.ReplaceAll(string(manifest), "AGNHOST_IMAGE", d.agnhostImage))
	if err != nil {
		return err
	}
	if err := d.command(ctx, "kubectl", "apply", "--namespace", namespace, "--filename", file); err != nil {
		return err
	}
	return d.command(ctx, "kubectl", "rollout", "status", "--namespace", namespace, "deployment/"+app, "--timeout", "3m")
}

// clearPending takes away a release that a killed helm left half made: helm would refuse it for ever.
func (d *demo) clearPending(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "helm", "list", "--namespace", systemNamespace, "--pending", "--short").Output()
	if err != nil {
		return fmt.Errorf("failed to list the releases of namespace %s: %w", systemNamespace, err)
	}
	if strings.TrimSpace(string(output)) != release {
		return nil
	}
	d.screen.line("an earlier run was killed while it installed")
	return d.command(ctx, "helm", "uninstall", release, "--namespace", systemNamespace, "--wait")
}

// values are the chart's values for the demo.
func (d *demo) values() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scope: namespaces\nnamespaces: [%s]\n", namespace)
	if image, err := splitImage(d.image); err == nil {
		fmt.Fprintf(&b, "image:\n  repository: %s\n  %s: %s\n", image.repository, image.kind, image.version)
	}
	if d.imageID != "" {
		fmt.Fprintf(&b, "podAnnotations: {demo/image-content: %q} # restarts the pods if only the image's content is new\n", d.imageID)
	}
	return b.String()
}

// generate writes a file of which the reader sees the path in a command.
func (d *demo) generate(name, content string) (string, error) {
	folder := filepath.Join(d.work, "demo")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("failed to create folder %s: %w", folder, err)
	}
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return "", fmt.Errorf("failed to write %s: %w", path, err)
	}
	return path, nil
}

func (d *demo) optIn(ctx context.Context) (*harness.Recorder, harness.Leadership, error) {
	recorder, err := harness.Record(ctx, d.client, namespace, leaderService)
	if err != nil {
		return nil, harness.Leadership{}, err
	}
	d.screen.step("One annotation: from now on %s routes to one pod", leaderService)
	if err := d.command(ctx, "kubectl", "annotate", "service", app, "--namespace", namespace, "--overwrite", api.AnnotationEnabled+"=true"); err != nil {
		return nil, harness.Leadership{}, err
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	leader, err := recorder.WaitForLeader(limited, "")
	if err != nil {
		return nil, harness.Leadership{}, fmt.Errorf("%w: no pod of Service %s became leader within 30 s", err, app)
	}
	err = d.command(ctx, "kubectl", "get", "services,endpointslices", "--namespace", namespace)
	d.screen.line("leader: %s, on %s", d.screen.paint(bold, leader.Pod), leader.Node)
	return recorder, leader, err
}

// clients are two, as names and addresses fail differently.
func (d *demo) clients(ctx context.Context, leader harness.Leadership) ([]harness.TrafficClient, error) {
	service, err := d.client.CoreV1().Services(namespace).Get(ctx, leaderService, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to get Service %s/%s: %w", namespace, leaderService, err)
	}
	if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil, fmt.Errorf("failed to find the ClusterIP of Service %s/%s: it has none", namespace, leaderService)
	}
	client := func(name, host string) harness.TrafficClient {
		return harness.TrafficClient{
			Namespace: namespace, Name: "client-" + name, Image: d.trafficImage, AwayFrom: leader.Node,
			Duration: d.traffic, Interval: d.interval,
			Targets: []harness.Target{{Name: name, URL: "http://" + host + "/hostname"}},
		}
	}
	return []harness.TrafficClient{client("dns-name", leaderService), client("clusterip", urlHost(service.Spec.ClusterIP))}, nil
}

// urlHost writes an address as a URL wants it: IPv6 in brackets.
func urlHost(address string) string {
	if ip := net.ParseIP(address); ip != nil && ip.To4() == nil {
		return "[" + address + "]"
	}
	return address
}

func (d *demo) failOver(ctx context.Context, recorder *harness.Recorder, leader harness.Leadership) (observation, error) {
	seen := observation{Before: leader}
	clients, err := d.clients(ctx, leader)
	if err != nil {
		return seen, err
	}
	d.screen.step("Two clients on another node, each a new connection every %s", milliseconds(report.Millis(d.interval)))
	if seen.Clients, err = d.startClients(ctx, clients); err != nil {
		return seen, err
	}
	d.screen.line("%.0f s of steady traffic", d.steady.Seconds())
	if err := pause(ctx, d.steady); err != nil {
		return seen, err
	}

	d.screen.step("Delete the leader")
	d.screen.command("kubectl", "delete", "pod", "--namespace", namespace, "--wait=false", leader.Pod)
	if seen.DeletedAt, seen.AcceptedAt, err = harness.Delete(ctx, d.client, namespace, leader.Pod, leader.UID); err != nil {
		return seen, err
	}
	d.screen.line("sent by the demo itself, which so knows the moment")
	limited, cancel := context.WithTimeout(ctx, d.traffic+30*time.Second)
	defer cancel()
	d.screen.line("requests go on; the old leader serves on for 5 s after SIGTERM")
	stop := d.clock()
	defer stop()
	for i, client := range clients {
		runs, err := client.Collect(limited, d.client)
		if err != nil {
			return seen, err
		}
		seen.Clients[i].Run = runs[0]
	}
	seen.complete(recorder.Leaderships(), recorder.Pods())
	return seen, nil
}

func (d *demo) startClients(ctx context.Context, clients []harness.TrafficClient) ([]clientView, error) {
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	titles := map[string]string{"dns-name": "DNS name", "clusterip": "ClusterIP"}
	views, errs := make([]clientView, len(clients)), make([]error, len(clients))
	var starting sync.WaitGroup
	for i, client := range clients {
		starting.Go(func() {
			views[i].Title = titles[client.Targets[0].Name]
			if errs[i] = harness.DeletePods(limited, d.client, client.Namespace, client.Name); errs[i] == nil {
				views[i].Node, errs[i] = client.Start(limited, d.client)
			}
		})
	}
	starting.Wait()
	for i, client := range clients {
		if errs[i] == nil {
			d.screen.line("pod %s on %s opens %s", client.Name, views[i].Node, client.Targets[0].URL)
		}
	}
	return views, errors.Join(errs...)
}

// complete adds what the watch recorded: the first leader after the old one, and the old one's end.
func (o *observation) complete(leaderships []harness.Leadership, pods []harness.PodChange) {
	o.After = o.Before
	switched := map[string]bool{}
	for _, l := range leaderships {
		if l.At.Before(o.DeletedAt) || l.Endpoints == 0 || !l.Ready || l.UID == o.Before.UID || switched[l.Slice] {
			continue
		}
		if len(o.Switches) == 0 {
			o.After = l
		}
		if l.UID == o.After.UID {
			switched[l.Slice] = true
			o.Switches = append(o.Switches, l)
		}
	}
	for _, change := range pods {
		if change.UID == o.Before.UID && change.What == harness.PodGone {
			o.GoneAt = change.At
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// next tells how to go on.
func (d *demo) next() {
	d.screen.heading("Everything is still running. Try, in this folder:")
	for _, words := range environment() {
		d.screen.printf("    %s\n", words)
	}
	annotation := func(key string) string { return ".metadata.annotations." + strings.ReplaceAll(key, ".", `\.`) }
	for _, try := range []struct{ what, how string }{
		{"Who leads, and since when", "kubectl -n " + namespace + " get endpointslices -l " + discoveryv1.LabelServiceName + "=" + leaderService +
			" -o custom-columns='LEADER:.endpoints[0].targetRef.name,NODE:.endpoints[0].nodeName,SINCE:" + annotation(api.AnnotationLastSwitchTime) + "'"},
		{"Why it changed", "kubectl -n " + namespace + " describe service " + app},
		{"Delete the leader again and watch what its Service routes to", fmt.Sprintf(
			"(timeout 10 kubectl -n %[1]s get endpointslices -l %[4]s=%[2]s --watch & "+
				"kubectl -n %[1]s delete pod --wait=false $(kubectl -n %[1]s get service %[2]s -o jsonpath='{%[3]s}'); wait)",
			namespace, leaderService, annotation(api.AnnotationLeaderPodName), discoveryv1.LabelServiceName)},
	} {
		d.screen.printf("\n  %s\n    %s\n", try.what, d.screen.paint(cyan, try.how))
	}
	d.screen.printf("\n  Remove every trace\n    %s\n", d.screen.paint(cyan, down()))
}

// down is the command that undoes the demo on the cluster that it ran on.
func down() string {
	if os.Getenv("CLUSTER") == "current" {
		return "CLUSTER=current make demo-down"
	}
	return "make demo-down"
}
