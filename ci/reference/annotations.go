package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kube-zen/zen-lead/src/api"
)

// constant is a constant whose value is a string, with its doc comment.
type constant struct {
	name, value, kind, text string
}

// constants are those of a file that keep returns true for, in order. A constant's type is that of those above it.
func constants(path string, keep func(constant) bool) ([]constant, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("failed to parse %s: %w", path, err)
	}
	var found []constant
	for _, declaration := range file.Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		kind := ""
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			if name, ok := value.Type.(*ast.Ident); ok {
				kind = name.Name
			}
			for i, name := range value.Names {
				if i >= len(value.Values) {
					continue
				}
				c := constant{name: name.Name, kind: kind, text: comment(name.Name, value.Doc)}
				if c.value, ok = text(value.Values[i]); ok && keep(c) {
					found = append(found, c)
				}
			}
		}
	}
	return found, nil
}

// text is the value of a string literal, or of one after Prefix.
func text(expression ast.Expr) (string, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(e.Value)
		return value, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		name, ok := e.X.(*ast.Ident)
		rest, isText := text(e.Y)
		return api.Prefix + rest, ok && isText && name.Name == "Prefix"
	}
	return "", false
}

// comment is a doc comment without the name that it begins with.
func comment(name string, doc *ast.CommentGroup) string {
	words := strings.Join(strings.Fields(doc.Text()), " ")
	if strings.HasPrefix(words, name+" and the following") {
		return "" // of a group, which says nothing of the one
	}
	words = strings.TrimPrefix(strings.TrimPrefix(words, name+": "), name+" ")
	words, _, _ = strings.Cut(words, " Decide cannot")
	// Angle brackets would be taken for HTML.
	return regexp.MustCompile(`"([^"]+)"`).ReplaceAllString(strings.TrimPrefix(words, "is "), "`$1`")
}

// eventMeanings say when an Event is recorded; a reason of the code that is missing here is an error.
func eventMeanings() map[string]string {
	return map[string]string{
		"LeaderElected":            "Normal. A pod leads: the first, or after a time without a leader.",
		"LeaderChanged":            "Normal. The leader moved; the message says why.",
		"LeaderServing":            "Normal. A terminating pod gets the traffic because no other can lead.",
		"NoLeader":                 "Warning. The leader Service has no endpoint; the message counts the pods by what keeps them. Again when another cause has lasted for 5 s.",
		"LeaderServiceRemoved":     "Normal. The Service was opted out.",
		"InvalidAnnotation":        "Warning. An annotation does not parse; the message names it, its value, what would be valid and what is used instead.",
		"UnsupportedService":       "Warning. No selector, or of type ExternalName.",
		"LeaderServiceNameTooLong": "Warning. More than 63 characters.",
		"LeaderServiceConflict":    "Warning. A Service of the leader Service's name exists and is not zen-lead's.",
		"LeaderSliceConflict":      "Warning. The same for an EndpointSlice.",
		"PortUnresolved":           "Warning. A named port of the Service is on none of a pod's containers.",
		"WriteRejected":            "Warning. The API server refuses a write; the message quotes it.",
	}
}

// annotations reads the doc comments of src/api and the reasons of src/director.
func annotations(root string) (string, error) {
	all, err := constants(filepath.Join(root, "src/api/api.go"), func(c constant) bool { return c.text != "" })
	if err != nil {
		return "", err
	}
	input := regexp.MustCompile(`^Annotation(Enabled|LeaderServiceName|Sticky|MinReadyDuration)$`)
	var in, out, labels []constant
	for _, c := range all {
		switch {
		case input.MatchString(c.name):
			in = append(in, c)
		case strings.HasPrefix(c.name, "Annotation"):
			out = append(out, c)
		case strings.HasPrefix(c.name, "Label"):
			labels = append(labels, c)
		}
	}
	reasons, err := constants(filepath.Join(root, "src/director/events.go"), func(c constant) bool { return strings.HasPrefix(c.name, "event") })
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Annotations, labels, Events\n\n" + notice)
	table(&b, "What you set, on the source Service", "annotation", in)
	b.WriteString("\nA value that does not parse gives the Event `InvalidAnnotation`, and the default is used. An unclear `" + api.AnnotationEnabled +
		"` switches nothing:\na Service that is not routed stays so, one that is routed stays routed.\n")
	table(&b, "What zen-lead writes", "annotation", out)
	b.WriteString("\nThe leader slices carry the last two, and all of them in an IP family in which the leader has no address; the leader\n" +
		"Service carries all of them, written after the slices. While nobody leads, none has a `" + api.AnnotationLeaderPodName +
		"`;\nepoch and time are then those of the last term.\n")
	table(&b, "Labels, on the leader Service and its slices", "label", labels)
	b.WriteString("\nLeader slices also have `kubernetes.io/service-name` (the leader Service) and\n`endpointslice.kubernetes.io/managed-by=" + api.ManagedBy +
		"`, and are named `<leader Service>-ipv4` and `-ipv6`. Both kinds are owned by the source Service.\nNo label and no annotation of the source Service is copied.\n")
	b.WriteString("\n## Events, on the source Service\n\n| reason | recorded when |\n|---|---|\n")
	meanings := eventMeanings()
	for _, c := range reasons {
		meaning, ok := meanings[c.value]
		if !ok {
			return "", fmt.Errorf("event %s has no meaning in ci/reference", c.value)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, meaning)
		delete(meanings, c.value)
	}
	if len(meanings) > 0 {
		return "", fmt.Errorf("ci/reference knows events that src/director does not: %v", sortedKeys(meanings))
	}
	return b.String(), nil
}

func table(b *strings.Builder, title, head string, rows []constant) {
	fmt.Fprintf(b, "\n## %s\n\n| %s | meaning |\n|---|---|\n", title, head)
	for _, c := range rows {
		fmt.Fprintf(b, "| `%s` | %s |\n", c.value, capital(c.text))
	}
}
