package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is one that runs.
type process struct {
	parent int
	took   time.Duration // of processors, with its children that have ended
}

type processTable map[int]process

// processes are those of the machine, by id: proc_pid_stat(5).
func processes() processTable {
	const tick = time.Second / 100 // USER_HZ
	all := processTable{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		var pid int
		fmt.Sscanf(path, "/proc/%d/stat", &pid)
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the third one on
		parent, _ := strconv.Atoi(fields[1])
		p := process{parent: parent}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			ticks, _ := strconv.Atoi(field)
			p.took += time.Duration(ticks) * tick
		}
		all[pid] = p
	}
	return all
}

// time is the processor time of a process and all below it.
func (t processTable) time(pid int) time.Duration {
	sum := t[pid].took
	for child, p := range t {
		if p.parent == pid {
			sum += t.time(child)
		}
	}
	return sum
}
