package app

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What these variables do to a half-open connection is tested in test/integration (TestFaults_OfConnections).
func TestNoticeSilence(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "20")
	require.NoError(t, noticeSilence())
	assert.Equal(t, "5", os.Getenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS"))
	assert.Equal(t, "20", os.Getenv("HTTP2_PING_TIMEOUT_SECONDS"), "what the user has set stays")
}

func TestGarbageIsCollectedEarlyUnlessTheUserSaysOtherwise(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "77")
	saveMemory()
	assert.Equal(t, 77, debug.SetGCPercent(77))
	t.Setenv("GOGC", "")
	saveMemory()
	assert.Equal(t, 40, debug.SetGCPercent(77))
}
