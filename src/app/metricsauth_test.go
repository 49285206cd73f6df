package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	tokenReviews  = "/apis/authentication.k8s.io/v1/tokenreviews"
	accessReviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
)

// judge is an API server that answers reviews and nothing else. What it answers may be changed between requests.
type judge struct {
	mu      sync.Mutex
	token   authenticationv1.TokenReviewStatus
	access  authorizationv1.SubjectAccessReviewStatus
	failing string // the path that is answered with an error
	hanging string // the path that is not answered until the client gives up

	asked      []string // the paths of the requests
	lastToken  string
	lastAccess authorizationv1.SubjectAccessReviewSpec
}

func (j *judge) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	path := request.URL.Path
	j.asked = append(j.asked, path)
	var answer any
	switch {
	case path == j.hanging:
		_, _ = io.Copy(io.Discard, request.Body) // before that, a server does not notice that its client is gone
		<-request.Context().Done()
		return
	case path == j.failing:
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	case path == tokenReviews:
		answer = j.answerToken(request)
	case path == accessReviews:
		answer = j.answerAccess(request)
	default:
		http.NotFound(w, request)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(answer)
}

func (j *judge) answerToken(request *http.Request) any {
	var review authenticationv1.TokenReview
	_ = json.NewDecoder(request.Body).Decode(&review)
	j.lastToken = review.Spec.Token
	review.SetGroupVersionKind(schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenReview"})
	review.Status = j.token
	return review
}

func (j *judge) answerAccess(request *http.Request) any {
	var review authorizationv1.SubjectAccessReview
	_ = json.NewDecoder(request.Body).Decode(&review)
	j.lastAccess = review.Spec
	review.SetGroupVersionKind(schema.GroupVersionKind{Group: "authorization.k8s.io", Version: "v1", Kind: "SubjectAccessReview"})
	review.Status = j.access
	return review
}

// requests is how many were made since the last call.
func (j *judge) requests() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	asked := j.asked
	j.asked = nil
	return asked
}

// admitting admits everybody as the user prometheus.
func admitting() *judge {
	return &judge{
		token: authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
			Username: "prometheus", UID: "u1", Groups: []string{"scrapers"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"p0"}},
		}},
		access: authorizationv1.SubjectAccessReviewStatus{Allowed: true},
	}
}

// guarded is the handler of /metrics behind the guard, judged by j.
func guarded(t *testing.T, j *judge) (http.Handler, *clocktesting.FakePassiveClock) {
	t.Helper()
	server := httptest.NewServer(j)
	t.Cleanup(server.Close)
	now := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	// Whoever uses up the limit of the controller's writes here would wait for ever.
	config := &rest.Config{Host: server.URL, RateLimiter: flowcontrol.NewFakeNeverRateLimiter(), ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	filter, err := reviewedMetrics(now)(config, server.Client())
	require.NoError(t, err)
	handler, err := filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "zen_lead_leader_ready 1")
	}))
	require.NoError(t, err)
	return handler, now
}

func ask(t *testing.T, handler http.Handler, method, authorization string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, metricsPath, nil)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		assert.Equal(t, http.StatusText(recorder.Code)+"\n", recorder.Body.String(), "a refusal says no more than its code")
	}
	return recorder
}

func TestMetricsGuard_TheAPIServerIsAskedWhatMatters(t *testing.T) {
	j := admitting()
	handler, _ := guarded(t, j)
	answer := ask(t, handler, http.MethodGet, "Bearer secret")
	assert.Equal(t, http.StatusOK, answer.Code)
	assert.Equal(t, "zen_lead_leader_ready 1", answer.Body.String())
	assert.Equal(t, []string{tokenReviews, accessReviews}, j.requests())
	assert.Equal(t, "secret", j.lastToken)
	assert.Equal(t, authorizationv1.SubjectAccessReviewSpec{
		User: "prometheus", UID: "u1", Groups: []string{"scrapers"}, Extra: map[string]authorizationv1.ExtraValue{"pod": {"p0"}},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
	}, j.lastAccess)
}

func TestMetricsGuard_Refusals(t *testing.T) {
	for name, test := range map[string]struct {
		change        func(*judge)
		method        string
		authorization string
		want          int
		asked         []string
	}{
		"no token":            {authorization: "", want: http.StatusUnauthorized},
		"no bearer":           {authorization: "Basic c2VjcmV0", want: http.StatusUnauthorized},
		"empty token":         {authorization: "Bearer  ", want: http.StatusUnauthorized},
		"scheme alone":        {authorization: "Bearer", want: http.StatusUnauthorized},
		"scheme without room": {authorization: "Bearersecret", want: http.StatusUnauthorized},
		"no read":             {method: http.MethodPost, authorization: "Bearer secret", want: http.StatusMethodNotAllowed},
		"unknown": {
			change:        func(j *judge) { j.token = authenticationv1.TokenReviewStatus{Error: "unknown"} },
			authorization: "Bearer secret", want: http.StatusUnauthorized, asked: []string{tokenReviews},
		},
		"not allowed": {
			change:        func(j *judge) { j.access.Allowed = false },
			authorization: "Bearer secret", want: http.StatusForbidden, asked: []string{tokenReviews, accessReviews},
		},
		"denied as well as allowed": {
			change:        func(j *judge) { j.access.Denied = true },
			authorization: "Bearer secret", want: http.StatusForbidden, asked: []string{tokenReviews, accessReviews},
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := admitting()
			if test.change != nil {
				test.change(j)
			}
			if test.method == "" {
				test.method = http.MethodGet
			}
			handler, _ := guarded(t, j)
			answer := ask(t, handler, test.method, test.authorization)
			assert.Equal(t, test.want, answer.Code)
			assert.Equal(t, test.asked, j.requests())
			assert.Equal(t, test.want == http.StatusUnauthorized, answer.Header().Get("WWW-Authenticate") == "Bearer")
			assert.Equal(t, test.want == http.StatusMethodNotAllowed, answer.Header().Get("Allow") == "GET, HEAD")
		})
	}
}

// What cannot be judged is not served, and is judged anew as soon as that is possible.
func TestMetricsGuard_NobodyIsServedWhileTheAPIServerDoesNotAnswer(t *testing.T) {
	for _, path := range []string{tokenReviews, accessReviews} {
		t.Run(path, func(t *testing.T) {
			j := admitting()
			handler, _ := guarded(t, j)
			j.failing = path
			assert.Equal(t, http.StatusInternalServerError, ask(t, handler, http.MethodGet, "Bearer secret").Code)
			j.failing = ""
			assert.Equal(t, http.StatusOK, ask(t, handler, http.MethodGet, "Bearer secret").Code)
		})
	}
}

func TestMetricsGuard_AReviewThatHangsEnds(t *testing.T) {
	j := admitting()
	j.hanging = accessReviews
	handler, _ := guarded(t, j)
	start := time.Now()
	assert.Equal(t, http.StatusInternalServerError, ask(t, handler, http.MethodGet, "Bearer secret").Code)
	assert.Less(t, time.Since(start), 2*reviewTimeout)
}

func TestMetricsGuard_AdmissionLastsAMinute(t *testing.T) {
	j := admitting()
	handler, now := guarded(t, j)
	require.Equal(t, http.StatusOK, ask(t, handler, http.MethodGet, "Bearer secret").Code)
	require.Len(t, j.requests(), 2)

	j.access.Allowed = false // the right is taken away
	now.SetTime(now.Now().Add(admittedFor - time.Nanosecond))
	assert.Equal(t, http.StatusOK, ask(t, handler, http.MethodGet, "bearer  secret").Code, "the same token, written otherwise")
	assert.Empty(t, j.requests())
	assert.Equal(t, http.StatusForbidden, ask(t, handler, http.MethodGet, "Bearer other").Code, "another token")
	assert.Equal(t, http.StatusForbidden, ask(t, handler, http.MethodHead, "Bearer secret").Code, "another verb")
	assert.Equal(t, "head", j.lastAccess.NonResourceAttributes.Verb)
	now.SetTime(now.Now().Add(time.Nanosecond))
	assert.Equal(t, http.StatusForbidden, ask(t, handler, http.MethodGet, "Bearer secret").Code)
}

func TestMetricsGuard_ARefusalIsNotRemembered(t *testing.T) {
	j := admitting()
	j.access.Allowed = false
	handler, _ := guarded(t, j)
	require.Equal(t, http.StatusForbidden, ask(t, handler, http.MethodGet, "Bearer secret").Code)
	j.access.Allowed = true // the right is given
	assert.Equal(t, http.StatusOK, ask(t, handler, http.MethodGet, "Bearer secret").Code)
}

func TestAdmissions_TheOldestMakesRoom(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Unix(1e9, 0))
	a := newAdmissions(now)
	key := func(i int) admission { return newAdmission(http.MethodGet, fmt.Sprint(i)) }
	for i := range 2 * admittedLimit {
		a.add(key(i))
		assert.LessOrEqual(t, len(a.ends), admittedLimit)
		now.SetTime(now.Now().Add(time.Millisecond))
	}
	for i := range 2 * admittedLimit {
		assert.Equal(t, i >= admittedLimit, a.has(key(i)), "token %d", i)
	}
}
