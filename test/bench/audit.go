package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// auditLine is what the API server notes of one request.
type auditLine struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	Object struct {
		Resource  string `json:"resource"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"objectRef"`
	Status struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Received  time.Time `json:"requestReceivedTimestamp"`
	Completed time.Time `json:"stageTimestamp"`
}

func (l *auditLine) writes() bool {
	switch l.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

// mark is a place in the audit log.
type mark int64

func (p *plane) mark() (mark, error) {
	info, err := os.Stat(p.audit)
	if err != nil {
		return 0, fmt.Errorf("failed to look at the audit log: %w", err)
	}
	return mark(info.Size()), nil
}

// requests are a user's requests since a mark.
func (p *plane) requests(user string, since mark) ([]auditLine, error) {
	file, err := os.Open(p.audit)
	if err != nil {
		return nil, fmt.Errorf("failed to open the audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(int64(since), io.SeekStart); err != nil {
		return nil, fmt.Errorf("failed to read the audit log: %w", err)
	}
	var list []auditLine
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		text, err := reader.ReadString('\n')
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("failed to read the audit log: %w", err)
		}
		if !strings.Contains(text, `"username":"`+user+`"`) {
			continue
		}
		var line auditLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			return nil, fmt.Errorf("failed to read the audit log: %w", err)
		}
		list = append(list, line)
	}
}

// writes counts a user's writes since a mark by verb and resource.
func (p *plane) writes(user string, since mark) (map[string]int, error) {
	lines, err := p.requests(user, since)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for i := range lines {
		if lines[i].writes() {
			counts[lines[i].Verb+" "+lines[i].Object.Resource]++
		}
	}
	return counts, nil
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}
