package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sort"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// push makes one image for several architectures of archives, one each, pushes it, and writes its digest. The same archives
// give the same digest, in whatever order they are named. Who pushes is known from Docker's configuration.
func push(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("image push", flag.ContinueOnError)
	set.SetOutput(stderr)
	reference := set.String("name", "", "image reference with a tag, for example example.com/app:1.0.0")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if *reference == "" || set.NArg() == 0 {
		return fmt.Errorf("%w: image push -name REFERENCE ARCHIVE..., one archive for each architecture", errUsage)
	}
	tag, err := name.NewTag(*reference, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("%w: failed to parse image name %s: %w", errUsage, *reference, err)
	}
	index, err := indexOf(set.Args())
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("failed to compute digest of %s: %w", *reference, err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("failed to push %s: %w", *reference, err)
	}
	_, err = fmt.Fprintln(stdout, digest)
	return err
}

func indexOf(archives []string) (v1.ImageIndex, error) {
	images := map[string]v1.Image{}
	var platforms []string
	for _, archive := range archives {
		img, err := tarball.ImageFromPath(archive, nil)
		if err != nil {
			return nil, fmt.Errorf("failed to read image archive %s: %w", archive, err)
		}
		file, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("failed to read config of %s: %w", archive, err)
		}
		platform := file.Platform().String()
		if _, twice := images[platform]; twice {
			return nil, fmt.Errorf("%s is for %s, as another archive is", archive, platform)
		}
		platforms = append(platforms, platform)
		images[platform] = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	sort.Strings(platforms)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		parsed, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, fmt.Errorf("failed to parse platform %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[platform], Descriptor: v1.Descriptor{Platform: parsed}})
	}
	return index, nil
}
