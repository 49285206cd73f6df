package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// metricsPath is what a scraper must be allowed to get.
	metricsPath = "/metrics"
	// reviewTimeout is how long the API server may take to judge who scrapes.
	reviewTimeout = 5 * time.Second
	// Reviews have a limit of their own, in requests a second and at once: whoever reaches the port can cause them, and
	// must not hold up what the controller writes.
	reviewQPS   = 10
	reviewBurst = 20
	// admittedFor is how long one who was admitted is not judged again. A refusal is not remembered: once the rights are
	// given, the next scrape has them.
	admittedFor = time.Minute
	// admittedLimit is how many are remembered; a cluster has few scrapers.
	admittedLimit = 64
)

// reviewedMetrics lets those read metrics whom the API server knows by their bearer token and allows to get /metrics.
//
// controller-runtime's own filter does the same with the parts that an API server is made of; these would be most
// of this program.
func reviewedMetrics(c clock.PassiveClock) func(*rest.Config, *http.Client) (metricsserver.Filter, error) {
	return func(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
		config = rest.CopyConfig(config)
		config.QPS, config.Burst, config.RateLimiter = reviewQPS, reviewBurst, nil
		tokens, err := authenticationclient.NewForConfigAndClient(config, client)
		if err != nil {
			return nil, fmt.Errorf("failed to create the client for token reviews: %w", err)
		}
		access, err := authorizationclient.NewForConfigAndClient(config, client)
		if err != nil {
			return nil, fmt.Errorf("failed to create the client for access reviews: %w", err)
		}
		return func(log logr.Logger, next http.Handler) (http.Handler, error) {
			return &metricsGuard{
				tokens: tokens.TokenReviews(), access: access.SubjectAccessReviews(),
				admitted: newAdmissions(c), log: log, next: next,
			}, nil
		}, nil
	}
}

// metricsGuard stands before the handler of /metrics.
type metricsGuard struct {
	tokens   authenticationclient.TokenReviewInterface
	access   authorizationclient.SubjectAccessReviewInterface
	admitted *admissions
	log      logr.Logger
	next     http.Handler
}

func (g *metricsGuard) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	token := bearerToken(request)
	if token == "" {
		refuse(w, http.StatusUnauthorized)
		return
	}
	key := newAdmission(request.Method, token)
	if !g.admitted.has(key) {
		if code := g.review(request.Context(), request.Method, token); code != http.StatusOK {
			refuse(w, code)
			return
		}
		g.admitted.add(key)
	}
	g.next.ServeHTTP(w, request)
}

// review asks the API server, and returns the answer as a code of HTTP. Who asks is told no more than that code.
func (g *metricsGuard) review(ctx context.Context, method, token string) int {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	known, err := g.tokens.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		g.log.Error(err, "failed to have the API server tell who scrapes metrics")
		return http.StatusInternalServerError
	}
	if !known.Status.Authenticated {
		g.log.V(1).Info("metrics refused: the token is not known", "reason", known.Status.Error)
		return http.StatusUnauthorized
	}
	verdict, err := g.access.Create(ctx, accessReview(known.Status.User, strings.ToLower(method)), metav1.CreateOptions{})
	if err != nil {
		g.log.Error(err, "failed to have the API server tell who may scrape metrics", "user", known.Status.User.Username)
		return http.StatusInternalServerError
	}
	if !verdict.Status.Allowed || verdict.Status.Denied {
		g.log.V(1).Info("metrics refused", "user", known.Status.User.Username, "reason", verdict.Status.Reason,
			"evaluationError", verdict.Status.EvaluationError)
		return http.StatusForbidden
	}
	return http.StatusOK
}

func accessReview(user authenticationv1.UserInfo, verb string) *authorizationv1.SubjectAccessReview {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	return &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: verb},
	}}
}

// bearerToken is the token of the request's Authorization header, empty if there is none.
func bearerToken(request *http.Request) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(request.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func refuse(w http.ResponseWriter, code int) {
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, http.StatusText(code), code)
}

// admission is who was admitted to do what. It does not hold the token.
type admission [sha256.Size]byte

func newAdmission(method, token string) admission { return sha256.Sum256([]byte(method + " " + token)) }

// admissions remembers who was admitted lately.
type admissions struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	ends  map[admission]time.Time
}

func newAdmissions(c clock.PassiveClock) *admissions {
	return &admissions{clock: c, ends: make(map[admission]time.Time)}
}

func (a *admissions) has(key admission) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock.Now().Before(a.ends[key])
}

// add remembers one more. If there are too many, the one that would be forgotten first makes room.
func (a *admissions) add(key admission) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ends[key] = a.clock.Now().Add(admittedFor)
	if len(a.ends) <= admittedLimit {
		return
	}
	first := key
	for other, end := range a.ends {
		if end.Before(a.ends[first]) {
			first = other
		}
	}
	delete(a.ends, first)
}
