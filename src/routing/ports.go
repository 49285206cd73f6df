package routing

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/endpointslice"
	"k8s.io/utils/ptr"
)

// resolvePorts is what the source Service's ports mean on this pod: a targetPort that is a name is looked up, with its
// protocol, in the containers and the restartable init containers. It fails closed: one port that cannot be resolved
// makes all of them unusable, since a slice without it would silently drop part of the Service.
func resolvePorts(source *corev1.Service, pod *corev1.Pod) ([]discoveryv1.EndpointPort, error) {
	ports := make([]discoveryv1.EndpointPort, 0, len(source.Spec.Ports))
	for i := range source.Spec.Ports {
		port := &source.Spec.Ports[i]
		number, err := endpointslice.FindPort(pod, port)
		if err != nil {
			return nil, fmt.Errorf("no container has a %s port named %q, which port %d of the Service targets", port.Protocol, port.TargetPort.StrVal, port.Port)
		}
		ports = append(ports, discoveryv1.EndpointPort{
			Name:        ptr.To(port.Name),
			Protocol:    ptr.To(port.Protocol),
			Port:        ptr.To(int32(number)),
			AppProtocol: port.AppProtocol,
		})
	}
	return ports, nil
}
