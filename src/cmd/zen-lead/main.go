// Command zen-lead routes <service>-leader to exactly one Ready pod of each Service that is annotated for it.
package main

import (
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kube-zen/zen-lead/src/app"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(app.Main(ctrl.SetupSignalHandler(), os.Args[1:], version))
}
