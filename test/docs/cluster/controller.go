package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// patience bounds how long a controller may take to become ready, and to end.
const patience = time.Minute

// startController runs the process of a pod of zen-lead's, as its ServiceAccount.
func (n *nodes) startController(ctx context.Context, pod *corev1.Pod) (*child, error) {
	kubeconfig, err := n.accountKubeconfig(ctx, pod)
	if err != nil {
		return nil, err
	}
	health, err := freeAddress()
	if err != nil {
		return nil, err
	}
	var args []string
	for _, arg := range pod.Spec.Containers[0].Args {
		args = append(args, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", pod.Namespace))
	}
	// Ports of the pod would be ports of this machine. Later flags win.
	args = append(args, "--kubeconfig="+kubeconfig, "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address="+health)
	process, err := startChild(kubeconfig+".log", n.binary, args...)
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		if process.ended() {
			return false, fmt.Errorf("the process ended: %s", process.output())
		}
		response, err := http.Get("http://" + health + "/readyz")
		if err != nil {
			return false, nil
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
	if err != nil {
		return process, fmt.Errorf("failed to start the process of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return process, nil
}

// accountKubeconfig writes a kubeconfig with a token of the pod's ServiceAccount.
func (n *nodes) accountKubeconfig(ctx context.Context, pod *corev1.Pod) (string, error) {
	request, err := n.typed.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to get a token of ServiceAccount %s/%s: %w", pod.Namespace, pod.Spec.ServiceAccountName, err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: n.cluster.Config.Host, CertificateAuthorityData: n.cluster.Config.CAData}
	config.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c", Namespace: pod.Namespace}
	config.CurrentContext = "c"
	path := filepath.Join(n.cluster.dir, string(pod.UID))
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("failed to write a kubeconfig: %w", err)
	}
	return path, os.Chmod(path, 0o600)
}

// terminate ends a process as a kubelet does.
func terminate(process *child) {
	_ = process.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-process.done:
		process.dismiss()
	case <-time.After(patience):
		process.kill()
	}
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("failed to find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
