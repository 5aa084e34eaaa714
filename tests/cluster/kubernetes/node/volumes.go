package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	provisioner       = "millrace.dev/local-volumes" // as the StorageClass names it
	claimProvisioner  = "volume.kubernetes.io/storage-provisioner"
	claimNode         = "volume.kubernetes.io/selected-node"
	volumeProvisioner = "pv.kubernetes.io/provisioned-by"
	retryAfter        = time.Second
)

// volumes gives each claim a folder of the node as a volume of type `local`. The
// controller manager has a provisioner for tests too, but the folders it makes are
// root's alone (mode 0750), and the kubelet never gives a hostPath to the pod's
// fsGroup. With `local` it does, so a pod needs fsGroup here as it does on the
// disks of a cloud.
type volumes struct {
	client  kubernetes.Interface
	folder  string
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

func newVolumesCommand() *cobra.Command {
	var kubeconfig, folder, health string
	command := &cobra.Command{
		Use:          "volumes",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return serveVolumes(command.Context(), client, folder, health)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&folder, "folder", "", "where the volumes' folders are made")
	command.Flags().StringVar(&health, "health", "", "address of /healthz")
	return command
}

func serveVolumes(ctx context.Context, client kubernetes.Interface, folder, health string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	v := &volumes{
		client: client, folder: folder,
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
	}
	changed := make(chan struct{}, 1)
	for _, informer := range []cache.SharedInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(),
		factory.Core().V1().PersistentVolumes().Informer(),
		factory.Storage().V1().StorageClasses().Informer(),
	} {
		if _, err := informer.AddEventHandler(signalTo(changed)); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	failed := make(chan error, 1)
	go func() {
		failed <- http.ListenAndServe(health, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	for {
		// A pass looks at everything, so a signal says only that there is something.
		var again <-chan time.Time
		if err := v.pass(ctx); err != nil {
			klog.ErrorS(err, "will be tried again")
			again = time.After(retryAfter)
		}
		select {
		case <-changed:
		case <-again:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func signalTo(changed chan<- struct{}) cache.ResourceEventHandlerFuncs {
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { signal() },
		UpdateFunc: func(any, any) { signal() },
		DeleteFunc: func(any) { signal() },
	}
}

// pass makes what is claimed and removes what was given back. One claim that
// cannot be served does not keep the others waiting.
func (v *volumes) pass(ctx context.Context) error {
	var failures []error
	claims, err := v.claims.List(labels.Everything())
	failures = append(failures, err)
	for _, claim := range claims {
		if wanted(claim) {
			failures = append(failures, v.provide(ctx, claim))
		}
	}
	made, err := v.volumes.List(labels.Everything())
	failures = append(failures, err)
	for _, volume := range made {
		if givenBack(volume) {
			failures = append(failures, v.remove(ctx, volume))
		}
	}
	return errors.Join(failures...)
}

// wanted: the controller manager names us on a claim once a volume is due.
func wanted(claim *core.PersistentVolumeClaim) bool {
	return claim.Annotations[claimProvisioner] == provisioner && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
}

func givenBack(volume *core.PersistentVolume) bool {
	return volume.Annotations[volumeProvisioner] == provisioner && volume.DeletionTimestamp == nil &&
		volume.Status.Phase == core.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == core.PersistentVolumeReclaimDelete
}

func (v *volumes) provide(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := v.classes.Get(*claim.Spec.StorageClassName)
	if apierrors.IsNotFound(err) {
		return nil // when it comes, we are told
	}
	if err != nil {
		return err
	}
	first := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	if first && claim.Annotations[claimNode] == "" {
		return nil
	}
	volume := v.volume(claim, class)
	// Root's alone until the kubelet hands it to a pod's fsGroup, as a new disk is.
	if err := os.MkdirAll(volume.Spec.Local.Path, 0o755); err != nil {
		return err
	}
	_, err = v.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the controller manager has yet to bind it
	}
	if err == nil {
		klog.InfoS("made a volume", "volume", volume.Name, "claim", klog.KObj(claim))
	}
	return err
}

func (v *volumes) volume(claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{volumeProvisioner: provisioner}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy, // the API server fills it in
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(v.folder, name)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{"node1"},
				}}}},
			}},
		},
	}
}

func (v *volumes) remove(ctx context.Context, volume *core.PersistentVolume) error {
	path := filepath.Join(v.folder, volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return fmt.Errorf("volume %s lies elsewhere than at %s; it is not removed", volume.Name, path)
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := v.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
