--- The LSP client: one for all buffers of this Neovim, started on first use, restarted if it dies.

local commands = require('fimd.commands')
local config = require('fimd.config')
local ghost = require('fimd.ghost')
local lsp = require('fimd.lsp')
local view = require('fimd.view')

local api = vim.api

---@class fimd.Status What fimd/status says.
---@field state 'off'|'starting'|'loading'|'idle'|'generating'|'error'
---@field message string?
---@field percent integer?
---@field model string?
---@field backend string?
---@field tokensPerSecond number?
---@field cacheHitRate number?

local M = {}

M.name = 'fimd'
M.group = api.nvim_create_augroup('fimd', { clear = true })

---@type fimd.Status
M.status = { state = 'off' }

---@type boolean
M.enabled = false

local client_id ---@type integer? of the running client
local announced = {} ---@type table<string, boolean> folders that it knows, by URI
local crashes = {} ---@type number[] times in ms
local max_crashes = 5 -- within a minute

---@param status fimd.Status
local function set_status(status)
  M.status = status
  api.nvim_exec_autocmds('User', { pattern = 'FimdStatus', modeline = false, data = status })
  vim.cmd.redrawstatus({ bang = true })
end

--- The client, even while it is not initialized yet (vim.lsp.get_clients would not list it).
---@return vim.lsp.Client?
function M.get()
  return client_id and vim.lsp.get_client_by_id(client_id) or nil
end

---@param path string
local function folder(path)
  return { uri = vim.uri_from_fname(path), name = vim.fs.basename(path) }
end

---@param buf integer
---@return string?
local function root_of(buf)
  local name = api.nvim_buf_get_name(buf)
  return name ~= '' and vim.fs.root(buf, config.current.root_markers) or nil
end

--- Tells the running client of a project that it does not know yet.
---@param client vim.lsp.Client
---@param root string?
local function add_folder(client, root)
  local added = root and folder(root)
  if not added or announced[added.uri] then
    return
  end
  announced[added.uri] = true
  client.workspace_folders = client.workspace_folders or {}
  table.insert(client.workspace_folders, added)
  lsp.when_initialized(client, function()
    lsp.notify(client.id, 'workspace/didChangeWorkspaceFolders', {
      event = { added = { added }, removed = {} },
    })
  end)
end

local handlers = {
  ['fimd/status'] = function(_, status)
    if type(status) == 'table' and type(status.state) == 'string' then
      set_status(status)
    end
  end,
  ['fimd/report'] = function() end,
  ['didChangeStatus'] = function() end,
  ['$/progress'] = function(err, params, ctx, ...)
    if not ghost.progress(params) and not commands.progress(params) then
      return vim.lsp.handlers['$/progress'](err, params, ctx, ...)
    end
  end,
}

---@param client vim.lsp.Client
---@param buf integer
local function on_attach(client, buf)
  if config.current.ghost == 'builtin' then
    vim.lsp.inline_completion.enable(true, { client_id = client.id })
    return
  end
  if vim.lsp.inline_completion then
    -- If the core's feature is on for other servers, it must not draw the same text again.
    vim.lsp.inline_completion.enable(false, { client_id = client.id })
  end
  ghost.attach(buf, client.id, M.group)
end

local function attach_all()
  for _, buf in ipairs(api.nvim_list_bufs()) do
    M.attach(buf)
  end
end

---@param code integer
---@param signal integer
---@param id integer
local function on_exit(code, signal, id)
  vim.schedule(function()
    if id ~= client_id or vim.v.exiting ~= vim.NIL or not M.enabled then
      return -- we ended it ourselves
    end
    client_id = nil
    local now = vim.uv.now()
    crashes = vim.tbl_filter(function(time)
      return now - time < 60000
    end, crashes)
    table.insert(crashes, now)
    local why = ('fimd ended (code %d, signal %d)'):format(code, signal)
    if #crashes >= max_crashes then
      set_status({ state = 'error', message = why .. ' again and again' })
      vim.notify(why .. ' again and again; see :Fimd log and :Fimd doctor', vim.log.levels.ERROR)
      return
    end
    set_status({ state = 'starting', message = why })
    vim.defer_fn(function()
      if M.enabled then
        attach_all()
      end
    end, 250 * 2 ^ (#crashes - 1))
  end)
end

---@param root string?
---@return vim.lsp.ClientConfig?
local function client_config(root)
  local cmd = config.command()
  if not cmd then
    local message = ("'%s' is not executable: install fimd, or set `cmd` in "):format(
      config.current.cmd[1]
    ) .. "require('fimd').setup{}"
    if M.status.message ~= message then
      set_status({ state = 'error', message = message })
      -- Later: an error in the middle of an autocommand would be shown as a failure of that.
      vim.schedule(function()
        vim.notify('fimd: ' .. message, vim.log.levels.ERROR)
      end)
    end
    return nil
  end
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  capabilities.experimental = { fimdStatus = true, fimdCommands = true }
  return {
    name = M.name,
    cmd = cmd,
    cmd_env = config.current.cmd_env,
    root_dir = root,
    workspace_folders = root and { folder(root) } or nil,
    capabilities = capabilities,
    init_options = next(config.current.settings) and config.current.settings or nil,
    settings = next(config.current.settings) and { fimd = config.current.settings } or {},
    handlers = handlers,
    on_attach = on_attach,
    on_init = lsp.initialized,
    on_exit = on_exit,
    flags = { debounce_text_changes = 50 },
  }
end

--- Attaches a buffer if it is one for suggestions.
---@param buf integer
function M.attach(buf)
  if not M.enabled or not config.suits(buf) then
    return
  end
  local client = M.get()
  if client and client.attached_buffers[buf] then
    return
  end
  local root = root_of(buf)
  if client then
    add_folder(client, root)
    vim.lsp.buf_attach_client(buf, client.id)
    return
  end
  local settings = client_config(root)
  if settings then
    if M.status.state == 'off' or M.status.state == 'error' then
      set_status({ state = 'starting' })
    end
    announced = root and { [folder(root).uri] = true } or {}
    client_id = vim.lsp.start(settings, {
      bufnr = buf,
      reuse_client = function()
        return false
      end,
    })
  end
end

---@param buf integer
function M.detach(buf)
  ghost.detach(buf)
  local client = M.get()
  if client and client.attached_buffers[buf] then
    vim.lsp.buf_detach_client(buf, client.id)
  end
end

--- Attaches now and from now on.
function M.enable()
  M.enabled = true
  crashes = {}
  view.set_highlights()
  commands.register()
  api.nvim_create_autocmd('ColorScheme', { group = M.group, callback = view.set_highlights })
  api.nvim_create_autocmd({ 'FileType', 'BufEnter', 'BufFilePost' }, {
    group = M.group,
    callback = function(event)
      M.attach(event.buf)
    end,
  })
  api.nvim_create_autocmd('LspDetach', {
    group = M.group,
    callback = function(event)
      if event.data.client_id == client_id then
        ghost.detach(event.buf)
      end
    end,
  })
  attach_all()
end

--- Ends the client, so that nothing is sent and computed any more.
function M.disable()
  M.enabled = false
  api.nvim_clear_autocmds({ group = M.group })
  for _, buf in ipairs(api.nvim_list_bufs()) do
    ghost.detach(buf)
  end
  local client = M.get()
  client_id = nil
  if client then
    -- At once, not when the server has ended: if the next client had the same buffers by then,
    -- Neovim would lose track of its changes.
    for _, buf in ipairs(vim.tbl_keys(client.attached_buffers)) do
      vim.lsp.buf_detach_client(buf, client.id)
    end
    lsp.stop(client)
  end
  set_status({ state = 'off' })
end

--- Starts a new client; with `daemon`, the daemon anew too.
---@param daemon boolean
function M.restart(daemon)
  local client = M.get()
  local function again()
    M.disable()
    M.enable()
  end
  if client and daemon then
    lsp.request(client, 'fimd/stop', vim.empty_dict(), vim.schedule_wrap(again), 0)
  else
    again()
  end
end

--- Changes the daemon's settings for this editor, such as { model = { path = … } }.
---@param settings table
function M.change_settings(settings)
  config.current.settings = vim.tbl_deep_extend('force', config.current.settings, settings)
  local client = M.get()
  if client then
    client.settings = { fimd = config.current.settings }
    lsp.notify(client.id, 'workspace/didChangeConfiguration', { settings = client.settings })
  end
end

return M
