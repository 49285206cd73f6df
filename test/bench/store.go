package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type object = client.Object

// store writes objects straight into etcd, in the form in which the API server keeps them. A fleet of tens of thousands
// of pods is there in seconds, hundreds of pods fail in one instant, and the API server has no part in the load beyond
// what it is to be measured with: telling its watchers.
type store struct {
	url     string
	client  *http.Client
	encoder runtime.Encoder
}

// maxTransaction is how many writes etcd takes at once by default.
const maxTransaction = 128

// inFlight is how many requests to etcd are on the way at once.
const inFlight = 8

func newStore(url string) *store {
	return &store{
		url:     url,
		client:  &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}},
		encoder: protobuf.NewSerializer(scheme.Scheme, scheme.Scheme),
	}
}

// The form of etcd's JSON gateway.
type (
	etcdTransaction struct {
		Success []etcdOperation `json:"success"`
	}
	etcdOperation struct {
		Put *etcdPut `json:"requestPut"`
	}
	etcdPut struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
)

// put creates or replaces objects that nobody watches yet, as many at once as etcd takes.
func (s *store) put(ctx context.Context, objects ...object) error {
	for batch := range slices.Chunk(objects, maxTransaction) {
		body, err := s.prepare(batch...)
		if err != nil {
			return err
		}
		if err := s.send(ctx, body); err != nil {
			return err
		}
	}
	return nil
}

// update writes objects that are watched: each in a transaction of its own, as the API server does, because what is
// written in one transaction has one resourceVersion. As many as etcd's gateway likes are on the way at once.
func (s *store) update(ctx context.Context, objects ...object) error {
	bodies := make([][]byte, len(objects))
	for i, o := range objects {
		body, err := s.prepare(o)
		if err != nil {
			return err
		}
		bodies[i] = body
	}
	var group sync.WaitGroup
	errs := make([]error, inFlight)
	for lane := range inFlight {
		group.Go(func() {
			for i := lane; i < len(bodies) && errs[lane] == nil; i += inFlight {
				errs[lane] = s.send(ctx, bodies[i])
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// prepare encodes the request that writes the objects.
func (s *store) prepare(objects ...object) ([]byte, error) {
	var t etcdTransaction
	for _, o := range objects {
		put, err := s.encode(o)
		if err != nil {
			return nil, err
		}
		t.Success = append(t.Success, etcdOperation{Put: put})
	}
	body, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("failed to encode a transaction: %w", err)
	}
	return body, nil
}

func (s *store) send(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("failed to build a request to etcd: %w", err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return fmt.Errorf("failed to write to etcd: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Succeeded bool   `json:"succeeded"`
		Message   string `json:"message"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("failed to read etcd's answer: %w", err)
	}
	if !answer.Succeeded {
		return fmt.Errorf("failed to write to etcd: %s %s", response.Status, answer.Message)
	}
	return nil
}

func (s *store) encode(o object) (*etcdPut, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, fmt.Errorf("failed to tell the kind of %T: %w", o, err)
	}
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	var value bytes.Buffer
	if err := s.encoder.Encode(o, &value); err != nil {
		return nil, fmt.Errorf("failed to encode %T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
	}
	return &etcdPut{Key: []byte(registryKey(o)), Value: value.Bytes()}, nil
}

func registryKey(o object) string {
	switch o.(type) {
	case *corev1.Pod:
		return "/registry/pods/" + o.GetNamespace() + "/" + o.GetName()
	case *corev1.Service:
		return "/registry/services/specs/" + o.GetNamespace() + "/" + o.GetName()
	case *discoveryv1.EndpointSlice:
		return "/registry/endpointslices/" + o.GetNamespace() + "/" + o.GetName()
	case *networkingv1.IPAddress:
		return "/registry/ipaddresses/" + o.GetName()
	case *corev1.Namespace:
		return "/registry/namespaces/" + o.GetName()
	case *corev1.Node:
		return "/registry/minions/" + o.GetName()
	}
	return ""
}
