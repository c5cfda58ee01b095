package localpg

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// serverUser returns how to run the server: as user postgres when we are root.
func serverUser() (*syscall.SysProcAttr, error) {
	// The server must not get the Ctrl-C of our terminal: we stop it ourselves,
	// after its clients. SIGINT is PostgreSQL's fast shutdown.
	attr := endWithUs(syscall.SIGINT)
	attr.Setpgid = true
	if os.Geteuid() != 0 {
		return attr, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root and there is no user postgres: %w", err)
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("reading user postgres: %w", err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}

// place returns a folder that the server can use: the wanted one, or, when
// another user could not reach it or its socket's path would be too long, one
// under /var/tmp with a name made from the wanted one, found again next time.
func place(wanted string, owner *syscall.Credential) (string, error) {
	if wanted == "" {
		return placeTemp(owner)
	}
	dir, err := filepath.Abs(wanted)
	if err != nil {
		return "", fmt.Errorf("placing the cluster: %w", err)
	}
	if len(dir) > maxSocketPath || (owner != nil && !reachable(dir)) {
		digest := sha256.Sum256([]byte(dir))
		dir = fmt.Sprintf("/var/tmp/messagerie-pg-%d-%x", os.Geteuid(), digest[:6])
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("placing the cluster: %w", err)
	}
	return dir, own(dir, owner)
}

func placeTemp(owner *syscall.Credential) (string, error) {
	// Not TMPDIR, which is often a folder of one user alone, with a long path.
	dir, err := os.MkdirTemp("/var/tmp", "messagerie-pg-")
	if err != nil {
		return "", fmt.Errorf("placing the cluster: %w", err)
	}
	return dir, own(dir, owner)
}

// own gives the folder to the server's user and to nobody else. Everybody can
// write to /var/tmp: a folder that somebody else has put there is refused.
func own(dir string, owner *syscall.Credential) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("placing the cluster: %w", err)
	}
	uid := os.Geteuid()
	if owner != nil {
		uid = int(owner.Uid)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || (int(stat.Uid) != uid && int(stat.Uid) != os.Geteuid()) {
		return fmt.Errorf("placing the cluster: %s is not a folder of ours", dir)
	}
	if owner != nil {
		if err := os.Chown(dir, uid, int(owner.Gid)); err != nil {
			return fmt.Errorf("giving the cluster to user postgres: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder
		return fmt.Errorf("closing the cluster's folder: %w", err)
	}
	return nil
}

// reachable reports whether every existing folder above dir lets anybody through.
func reachable(dir string) bool {
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err == nil && info.Mode()&0o001 == 0 {
			return false
		}
		if parent == filepath.Dir(parent) {
			return true
		}
	}
}
