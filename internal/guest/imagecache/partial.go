package imagecache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Partial is the beginning of an image that nobody fetches now. The next build of that image continues it.
type Partial struct {
	SHA512 string
	Bytes  int64
	Since  time.Time // when the last byte came
}

// Partials lists those to which nothing was added for so long, in order of their checksums.
func (c *Cache) Partials(unused time.Duration) ([]Partial, error) {
	files, err := c.list()
	if err != nil {
		return nil, err
	}
	var all []Partial
	for _, f := range files {
		if f.part && !c.busy(f.sha) && time.Since(f.used) >= unused {
			all = append(all, Partial{SHA512: f.sha, Bytes: f.size, Since: f.used})
		}
	}
	return all, nil
}

func (c *Cache) busy(sha string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pins[sha] > 0
}

// RemovePartial removes what came of an image, unless somebody fetches it now or something was added more recently. Absent
// is success.
func (c *Cache) RemovePartial(sha string, unused time.Duration) error {
	path, err := c.Path(sha)
	if err != nil {
		return err
	}
	st, err := os.Stat(path + partSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || time.Since(st.ModTime()) < unused {
		return err
	}
	_, err = c.drop(cached{sha: sha, size: st.Size(), used: st.ModTime(), part: true})
	return err
}

// Absent lists which of the images are not in the cache.
func (c *Cache) Absent(shas []string) ([]string, error) {
	var absent []string
	for _, sha := range shas {
		path, err := c.Path(sha)
		if err != nil {
			return nil, err
		}
		switch _, err := os.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
			absent = append(absent, sha)
		case err != nil:
			return nil, err
		}
	}
	return absent, nil
}

// NameOf is the checksum of the image at a path of this cache; the path itself where it lies elsewhere.
func (c *Cache) NameOf(path string) string {
	if filepath.Dir(path) == c.opts.Dir {
		return filepath.Base(path)
	}
	return path
}
