package app

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-zen/zen-lead/src/options"
)

func TestAnOrderlyEndLogsNoError(t *testing.T) {
	var output strings.Builder
	o := options.Default(os.Getenv)
	o.LogFormat = "text"
	require.NoError(t, SetLogger(&output, o))
	logger := log.Log.WithName("x").WithValues("a", 1)
	logger.Error(errors.New("leader election lost"), "error received after stop sequence was engaged")
	assert.Empty(t, output.String())
	logger.Error(errors.New("something else"), "error received after stop sequence was engaged")
	assert.Contains(t, output.String(), "level=ERROR")
	output.Reset()
	logger.Info("hello")
	logger.V(1).Info("not at this level")
	assert.Contains(t, output.String(), "msg=hello")
	assert.NotContains(t, output.String(), "not at this level")
}
