package program

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// misbehave is what a tool does that an image has taken over: it says what it got.
const misbehave = `
sub got { print "$_[0]\n" if $_[1] }
for my $f ("/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/environ", "/root", "/home", "/var/lib", "/sys/kernel", "/dev/mem", "/usr/share/doc", @ARGV) {
	got("reads $f", open(my $h, "<", $f) || opendir(my $d, $f));
}
use Socket;
for ([PF_INET, SOCK_STREAM], [PF_INET, SOCK_DGRAM], [PF_UNIX, SOCK_STREAM], [PF_INET6, SOCK_STREAM], [16, SOCK_RAW]) {
	got("has a socket of family $_->[0]", socket(my $s, $_->[0], $_->[1], 0));
}
got("writes where programs are", open(my $w, ">", "/usr/bin/slipway-was-here"));
got("writes in its root", open(my $x, ">", "/here") || mkdir("/folder"));
got("signals a process", kill(0, 1) || kill(0, getppid()) || kill("STOP", -1));
got("is root", $> == 0 || $< == 0 || $) =~ /^0|\b0\b/);
got("becomes root", ($> = 0) == 0 && $> == 0);
chroot("/"); chdir(".."); got("leaves its root", -e "../proc" || -e "/proc");
# mount, umount2, unshare, setns, ptrace, init_module, keyctl, bpf, userfaultfd, io_uring_setup, open_by_handle_at, clone3, pidfd_open, process_vm_readv, mknod
my $n = "x" . "\0" x 4096; my $t = "tmpfs";
for ([mount => 165, $t, "/dev", $t, 0, 0], [umount => 166, "/usr/bin", 2], [unshare => 272, 0x10000000], [setns => 308, 0, 0], [ptrace => 101, 0, 0, 0, 0],
	[init_module => 175, $n, 1, $n], [keyctl => 250, 0, -3, 1], [bpf => 321, 0, $n, 64], [userfaultfd => 323, 0], [io_uring => 425, 1, $n], [handle => 304, 0, $n, 0],
	[clone3 => 435, $n, 88], [pidfd => 434, 1, 0], [process_vm_readv => 310, 1, $n, 1, $n, 1, 0], [mknod => 133, "/dev/x", 0020666, 0x101], [tgkill => 234, 1, 1, 0],
	[setns_clone => 56, 0x10000000 | 17, 0, 0, 0, 0], [add_key => 248, "user", "x", "y", 1, -1], [shmget => 29, 0, 4096, 01600], [kill => 62, -1, 0]) {
	my ($name, $number, @a) = @$_;
	my $r = syscall($number, @a);
	exit 0 if $r == 0 && $name =~ /clone/; # the child
	got("has $name", $r != -1);
}
kill("KILL", -1);
open(my $own, "+<", $ENV{OWN} || $ARGV[0]) ; # what it was given to write
`

func TestAProgramThatMisbehavesGetsNothing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"given", "writable", "secret"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)) //nolint:gosec // G306: to be readable is the point
	}
	require.NoError(t, os.Chown(filepath.Join(dir, "writable"), User, User))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	other, err := Converse(t.Context(), Command{Name: "cat", Confine: &Confinement{}})
	require.NoError(t, err)
	defer func() {
		_, err := other.In.WriteString("it is left alone\n")
		require.NoError(t, err)
		rest, err := other.End()
		require.NoError(t, err)
		require.Equal(t, "it is left alone\n", string(rest))
	}()
	for name, c := range map[string]struct {
		exports, starts bool
		also            []string // what it gets, but for the empty folders above its files
	}{
		"a tool":           {},
		"what exports":     {exports: true},
		"what does both":   {exports: true, starts: true, also: []string{"has a socket of family 1", "signals a process", "has tgkill"}},
		"what starts more": {starts: true, also: []string{"has a socket of family 1", "signals a process", "has tgkill"}}, // in its own namespaces
	} {
		t.Run(name, func(t *testing.T) {
			also := c.also
			c := &Confinement{Exports: c.exports, Starts: c.starts, Files: []File{{Path: filepath.Join(dir, "given")}, {Path: filepath.Join(dir, "writable"), Writable: true}}}
			said, complaint, err := Run(t.Context(), Command{
				Name: "perl", Args: []string{"-", filepath.Join(dir, "secret"), dir + "/../.."}, Stdin: []byte(misbehave), Confine: c,
			})
			require.NoError(t, err)
			t.Log(complaint)
			got := strings.Split(strings.TrimSpace(string(said)), "\n")
			require.Equal(t, append([]string{"reads " + dir + "/../.."}, also...), got)
		})
	}
}

func TestWhatAConfinedProgramHasStartedEndsWithIt(t *testing.T) {
	c := Command{Name: "sh", Args: []string{"-c", "sleep 1000 & echo started; read line"}, Confine: &Confinement{Starts: true, Scratch: 1 << 20}}
	for name, end := range map[string]func(*Conversation){"by itself": func(*Conversation) {}, "killed": (*Conversation).Kill} {
		t.Run(name, func(t *testing.T) {
			v, err := Converse(t.Context(), c)
			require.NoError(t, err)
			_, err = bufio.NewReader(v.Out).ReadString('\n')
			require.NoError(t, err)
			end(v)
			rest, _ := v.End() // which reads until nobody can write any more
			require.Empty(t, rest)
		})
	}
}

func TestAConfinedProgramHasAsMuchScratchAsIsSaid(t *testing.T) {
	script := `head -c 500000 /dev/urandom >/tmp/a && ls /var/tmp; head -c 2000000 /dev/urandom >/tmp/b || echo full`
	said, _, err := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", script}, Confine: &Confinement{Scratch: 1 << 20}})
	require.NoError(t, err)
	require.Equal(t, "a\nfull\n", string(said))
}

func TestAConfinedProgramSeesItsFilesUnderTheirNames(t *testing.T) {
	dir := t.TempDir()
	given, writable := filepath.Join(dir, "a", "given"), filepath.Join(dir, "b", "writable")
	for _, path := range []string{given, writable} {
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o444)) //nolint:gosec // G306: to be readable is the point
	}
	require.NoError(t, os.Chown(writable, User, User))
	require.NoError(t, os.Chmod(writable, 0o600))
	c := &Confinement{Files: []File{{Path: given}, {Path: writable, Writable: true}}}
	script := `cat "$1"; echo new >"$2"; (echo x >>"$1") 2>/dev/null || echo refused; ls / /dev; grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|CapEff):' /proc/self/status || id -u`
	said, complaint, err := Run(t.Context(), Command{Name: "sh", Args: []string{"-c", script, "sh", given, writable}, Confine: c})
	require.NoError(t, err, complaint)
	require.Contains(t, string(said), "old\nrefused\n")
	require.Contains(t, string(said), "\n65533\n")
	b, err := os.ReadFile(writable)
	require.NoError(t, err)
	require.Equal(t, "new\n", string(b))

	_, _, err = Run(t.Context(), Command{Name: "true", Confine: &Confinement{Files: []File{{Path: "relative"}}}})
	require.ErrorContains(t, err, "no absolute name")
	_, _, err = Run(t.Context(), Command{Name: "true", Confine: &Confinement{Files: []File{{Path: filepath.Join(dir, "absent")}}}})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWhatIsShownToAProgramThatDoesNotStartIsNotKeptOpen(t *testing.T) {
	dir := t.TempDir()
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(fds)
	}
	c := &Confinement{Files: []File{{Path: dir}, {Path: filepath.Join(dir, "absent")}}}
	_, _, err := Run(t.Context(), Command{Name: "true", Confine: c})
	require.ErrorIs(t, err, os.ErrNotExist)
	before := open()
	for range 50 {
		_, _, err := Run(t.Context(), Command{Name: "true", Confine: c})
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	require.Less(t, open(), before+50)
}

// The threads that start confined programs must not become those of anything else.
func TestNothingOfAConfinementStaysWithThisProcess(t *testing.T) {
	for range 20 {
		_, _, err := Run(t.Context(), Command{Name: "true", Confine: &Confinement{}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { // a thread that ends is there for a moment
		tasks, err := os.ReadDir("/proc/self/task")
		require.NoError(t, err)
		return !slices.ContainsFunc(tasks, func(task os.DirEntry) bool {
			status, err := os.ReadFile(filepath.Join("/proc/self/task", task.Name(), "status"))
			return err == nil && !(strings.Contains(string(status), "NoNewPrivs:\t0\n") && strings.Contains(string(status), "Seccomp:\t0\n"))
		})
	}, 30*time.Second, 10*time.Millisecond)
	require.FileExists(t, "/etc/passwd")
}

func BenchmarkRun(b *testing.B) {
	for name, c := range map[string]*Confinement{"plain": nil, "confined": {}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := Run(b.Context(), Command{Name: "true", Confine: c}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Programs that start at the same moment take after one another what is open in this process.
func TestManyProgramsAreConfinedAtTheSameTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "given")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				_, _, err := Run(t.Context(), Command{Name: "true", Confine: &Confinement{Files: []File{{Path: file}, {Path: filepath.Dir(file)}}}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
