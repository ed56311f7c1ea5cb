/** `unanimous/files`: files. */
export {
  FileSession,
  type CleanUpOptions,
  type FileSessionOptions,
  type ListStagedOptions,
  type WriteFileOptions,
} from './session.ts';
export { FileConflictError, FilesNotInPlaceError, type FileResult } from './errors.ts';
export type { StagedFile } from './staged.ts';
