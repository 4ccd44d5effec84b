package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// openImages makes the image service of a process of the control plane.
func openImages(c config.Images, store *models.Store, stores *imagestore.Stores, keeper *installation.Keeper, log *slog.Logger) (*images.Service, error) {
	log.Info("images are stored", "stores", stores.Names(), "default", stores.Default(), "location", stores.Location("ID"))
	config := images.Config{MaxBytes: c.MaxBytes, ProjectBytes: c.ProjectBytes, Virtual: c.MaxVirtualBytes, Quarantine: c.Quarantine, MaySweep: keeper.MaySweep}
	if c.Certificates != "" {
		folder, err := imagesignature.OpenFolder(c.Certificates, c.TrustRoots)
		if err != nil {
			return nil, fmt.Errorf("images.certificates: %w", err)
		}
		config.Certificates = folder
	}
	if c.PropertyProtections != "" {
		protections, err := imagepolicy.LoadProtections(c.PropertyProtections, "roles")
		if err != nil {
			return nil, fmt.Errorf("images.property_protections: %w", err)
		}
		config.Protections = protections
		for _, warning := range config.Protections.Warnings() {
			log.Warn("images.property_protections", "warning", warning)
		}
	}
	return images.New(store, stores, config, log), nil
}

// imageSettings are the stores of images; without locks they can only be read.
func imageSettings(c config.Images, locks imagestore.Locks) imagestore.Settings {
	return imagestore.Settings{
		Stores: c.Stores, Default: c.DefaultStore, Dir: c.Dir, Reserve: c.Reserve, Credentials: c.Credentials, CredentialsFile: c.CredentialsFile, Locks: locks,
	}
}

// imageLocks keep uploads to object stores apart, whichever api process they go through.
type imageLocks struct{ locks *models.Locks }

func (l imageLocks) Lock(ctx context.Context, name string) (imagestore.Lock, error) {
	lock, err := l.locks.Lock(ctx, name)
	if err != nil {
		return nil, err
	}
	return lock, nil
}
